"use strict";
// The significance matrix: the pair under the pointer, the finger or the keyboard is read out below the table.
(() => {
  const table = $("#matrix"), out = $("#pair");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const names = rows.map((row) => row.cells[0].dataset.name);
  const at = (i, j) => rows[i] && rows[i].cells[j + 1];
  let current = at(0, 1);

  function place(cell) { return [rows.indexOf(cell.parentElement), cell.cellIndex - 1]; }
  function tell(cell) {
    const [i, j] = place(cell);
    if (i < 0 || j < 0) return;
    out.textContent = i === j ? names[i] : `${names[i]} against ${names[j]}: ${cell.title}`;
  }
  function focus(cell) {
    if (!cell) return;
    current.tabIndex = -1;
    current = cell;
    current.tabIndex = 0;
    current.focus();
  }
  for (const cell of $$("tbody td", table)) {
    const [i, j] = place(cell);
    cell.tabIndex = -1;
    cell.setAttribute("aria-label", i === j ? `${names[i]}: itself` : `${names[i]} against ${names[j]}: ${cell.title}`);
  }
  table.setAttribute("role", "grid");
  for (const row of table.rows) row.setAttribute("role", "row");
  for (const cell of $$("tbody td", table)) cell.setAttribute("role", "gridcell");
  for (const cell of $$("thead th", table)) cell.setAttribute("role", "columnheader");
  for (const cell of $$("tbody th", table)) cell.setAttribute("role", "rowheader");
  current.tabIndex = 0;
  table.addEventListener("focusin", (event) => { if (event.target.tagName === "TD") tell(event.target); });
  table.addEventListener("pointerover", (event) => { const cell = event.target.closest("tbody td"); if (cell) tell(cell); });
  table.addEventListener("click", (event) => { const cell = event.target.closest("tbody td"); if (cell) focus(cell); });
  table.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move || event.target.tagName !== "TD") return;
    event.preventDefault();
    const [i, j] = place(event.target);
    if (j + move[1] >= 0) focus(at(i + move[0], j + move[1]));
  });
})();
