"use strict";
// Headings of tables become buttons that sort; a link to a closed image opens it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
    if (!head.textContent) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        const data = cell.querySelector("data");
        return data ? data.value : cell.textContent;
      };
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      const rows = [...body.rows].sort((a, b) => compare(value(a), value(b)));
      body.append(...(down ? rows.reverse() : rows));
    });
  }
}
function open() {
  const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
open();
