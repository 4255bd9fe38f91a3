"use strict";
// Makes the tables of a page sortable, searchable and foldable; without it everything is shown.
(() => {
  const button = (text, press) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", press);
    return made;
  };

  // Larger than any number where the whole input is seen, null where there is nothing.
  const value = (cell) => {
    const text = cell.dataset.v ?? cell.textContent.replaceAll(",", "");
    if (text === "inf") return Infinity;
    const number = Number(text);
    return text.trim() === "" || Number.isNaN(number) ? null : number;
  };

  const order = (column, isNumber, sign) => (a, b) => {
    if (!isNumber) return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en");
    const [x, y] = [value(a.cells[column]), value(b.cells[column])];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  };

  const makeSortable = (table) => {
    const homes = [...table.tBodies].map((body) => [body, [...body.rows]]);
    const rows = homes.flatMap(([, inside]) => inside).filter((row) => !row.classList.contains("block"));
    const sorted = document.createElement("tbody");
    const heads = [...table.tHead.rows[0].cells];
    const sort = (head, column) => {
      const isNumber = head.classList.contains("r");
      const steps = isNumber ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
      const next = steps[(steps.indexOf(head.getAttribute("aria-sort") ?? "") + 1) % 3];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) {
        head.setAttribute("aria-sort", next);
        sorted.append(...rows.slice().sort(order(column, isNumber, next === "ascending" ? 1 : -1)));
        homes[homes.length - 1][0].after(sorted);
      } else {
        for (const [body, inside] of homes) body.append(...inside);
        sorted.remove();
      }
      for (const [body] of homes) body.hidden = next !== "";
    };
    heads.forEach((head, column) => {
      const made = button(head.textContent, () => sort(head, column));
      head.replaceChildren(made);
    });
  };

  const makeFoldable = (table, tools) => {
    const bodies = [...table.querySelectorAll("tbody.block")];
    const fold = (body, isFolded) => {
      body.classList.toggle("folded", isFolded);
      body.rows[0].querySelector("button").setAttribute("aria-expanded", String(!isFolded));
    };
    for (const body of bodies) {
      const cell = body.rows[0].cells[0];
      cell.replaceChildren(button(cell.textContent, () => fold(body, !body.classList.contains("folded"))));
      fold(body, table.rows.length > 60);
    }
    if (bodies.length) {
      tools.append(
        button("Unfold all", () => bodies.forEach((body) => fold(body, false))),
        button("Fold all", () => bodies.forEach((body) => fold(body, true))),
      );
    }
  };

  const makeSearchable = (table, tools) => {
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    const layers = rows.filter((row) => !row.classList.contains("block"));
    const texts = new Map(layers.map((row) => [row, row.textContent.toLowerCase()]));
    const label = document.createElement("label");
    const field = document.createElement("input");
    const found = document.createElement("output");
    field.type = "search";
    label.append("Search the table", field);
    const search = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        row.hidden = !words.every((word) => (texts.get(row) ?? "").includes(word));
        row.parentNode.classList.toggle("found", words.length > 0);
      }
      const number = layers.filter((row) => !row.hidden).length;
      found.textContent = words.length ? `${number} of ${layers.length} rows` : `${layers.length} rows`;
    };
    field.addEventListener("input", search);
    tools.prepend(label, found);
    search();
  };

  for (const frame of document.querySelectorAll(".frame")) {
    const table = frame.querySelector("table");
    const tools = document.createElement("div");
    tools.className = "tools";
    if (frame.classList.contains("long")) {
      makeSearchable(table, tools);
      makeFoldable(table, tools);
      frame.before(tools);
    }
    if (table.classList.contains("sortable")) makeSortable(table);
  }
})();
