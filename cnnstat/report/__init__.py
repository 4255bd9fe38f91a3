"""Reports: results in words and numbers, one file a format or subject; no figure is computed here."""

from cnnstat.report.document import FORMATS as FORMATS
from cnnstat.report.document import write as write
