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

  const setButton = (cell, press) => {
    const printed = document.createElement("span");
    printed.className = "printed";
    printed.textContent = cell.textContent;
    cell.replaceChildren(button(cell.textContent, press), printed);
  };

  const nameOf = (row) => (row.cells[0].querySelector(".printed") ?? row.cells[0]).textContent;

  // Larger than any number where the whole input is seen, null where there is nothing.
  const value = (cell) => {
    const text = cell.dataset.v ?? cell.textContent.replaceAll(",", "");
    if (text === "inf") return Infinity;
    const number = Number(text);
    return text.trim() === "" || Number.isNaN(number) ? null : number;
  };

  const words = new Intl.Collator("en");

  const inOrder = (rows, column, isNumber, sign) => {
    const keyed = rows.map((row) => [isNumber ? value(row.cells[column]) : row.cells[column].textContent, row]);
    keyed.sort(([x], [y]) => {
      if (!isNumber) return sign * words.compare(x, y);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
    return keyed.map(([, row]) => row);
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
        sorted.append(...inOrder(rows, column, isNumber, next === "ascending" ? 1 : -1));
        homes[homes.length - 1][0].after(sorted);
      } else {
        for (const [body, inside] of homes) body.append(...inside);
        sorted.remove();
      }
      for (const [body] of homes) body.hidden = next !== "";
    };
    heads.forEach((head, column) => {
      setButton(head, () => sort(head, column));
    });
  };

  const makeFoldable = (table, tools) => {
    const bodies = [...table.querySelectorAll("tbody.block")];
    const fold = (body, isFolded) => {
      body.classList.toggle("folded", isFolded);
      body.rows[0].querySelector("button").setAttribute("aria-expanded", String(!isFolded));
    };
    for (const body of bodies) {
      setButton(body.rows[0].cells[0], () => fold(body, !body.classList.contains("folded")));
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

  // Layers by the words of data-layers, in which blanks and % are percent-encoded.
  const word = (row) => nameOf(row).replace(/ \u00d7\d+$/, "").replace(/[%\s]/g, encodeURIComponent);

  const linkDrawing = (section) => {
    const table = section.querySelector("table");
    const boxOf = new Map(), rowsOf = new Map(), rowOf = new Map();
    for (const row of table.querySelectorAll("tbody tr:not(.block)")) rowOf.set(word(row), row);
    for (const box of section.querySelectorAll("[data-layers]")) {
      const words = box.dataset.layers.split(" ");
      for (const each of words) boxOf.set(each, [...(boxOf.get(each) ?? []), box]);
      rowsOf.set(box, words.map((each) => rowOf.get(each)).filter(Boolean));
    }
    const inside = (row) => (row.classList.contains("block") ? [...row.parentNode.rows].slice(1) : [row]);
    const boxesOf = (row) => new Set(inside(row).flatMap((each) => boxOf.get(word(each)) ?? []));
    const mark = (boxes, rows, isMarked) => {
      for (const each of [...boxes, ...rows]) each.classList.toggle("marked", isMarked);
    };
    const headOf = (row) => row.closest("tbody.block")?.rows[0] ?? row;
    for (const kind of ["mouseover", "mouseout"]) {
      table.addEventListener(kind, (event) => {
        const row = event.target.closest("tbody tr");
        if (!row) return;
        const boxes = boxesOf(row);
        mark(boxes, [], kind === "mouseover");
        const seen = [...boxes].find((box) => box.checkVisibility?.() ?? true);
        if (seen && kind === "mouseover") reveal(seen.closest(".network"), seen);
      });
    }
    for (const [box, rows] of rowsOf) {
      const lit = rows.flatMap((row) => [row, headOf(row)]);
      const show = () => {
        for (const row of rows) {
          const fold = headOf(row).querySelector('button[aria-expanded="false"]');
          if (fold && headOf(row) !== row) fold.click();
        }
        if (rows.length) reveal(table.parentNode, rows[0]);
      };
      box.addEventListener("mouseenter", () => mark([], lit, true));
      box.addEventListener("mouseleave", () => mark([], lit, false));
      box.addEventListener("focus", () => mark([], lit, true));
      box.addEventListener("blur", () => mark([], lit, false));
      box.addEventListener("click", show);
      box.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        show();
      });
      box.setAttribute("tabindex", "0");
      box.setAttribute("role", "button");
      box.setAttribute("aria-label", `${box.querySelector("title")?.textContent ?? ""}: show in the table`);
    }
    // What has buttons inside is no single image.
    for (const svg of section.querySelectorAll(".network > svg")) svg.setAttribute("role", "group");
  };

  // Scrolls a frame, and never the page, so that an element stands in its middle.
  const reveal = (frame, element) => {
    const [outer, inner] = [frame.getBoundingClientRect(), element.getBoundingClientRect()];
    if (inner.top >= outer.top && inner.bottom <= outer.bottom && inner.left >= outer.left && inner.right <= outer.right) return;
    frame.scrollBy(inner.left - outer.left - (outer.width - inner.width) / 2,
                   inner.top - outer.top - (outer.height - inner.height) / 2);
  };

  for (const frame of document.querySelectorAll("div.frame")) {
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
  for (const section of document.querySelectorAll(".beside")) linkDrawing(section);
})();
