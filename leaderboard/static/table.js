"use strict";
// Sorting and filtering of the overview table. Every cell carries its sort value in data-v; rows say their recipe.
(() => {
  const table = $("#board");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], status = $("#shown");
  const original = new Map(rows.map((row, i) => [row, i]));
  const fields = $$("[data-filter]");
  const view = { sort: "", dir: "" };

  const column = (key) => [...$$("th[data-k]", table)].findIndex((th) => th.dataset.k === key);
  const value = (row, index) => {
    const raw = row.cells[index] && row.cells[index].dataset.v;
    if (raw === undefined || raw === "") return null;
    const number = Number(raw);
    return Number.isNaN(number) ? raw : number;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  function draw() {
    const index = column(view.sort), sign = view.dir === "up" ? 1 : -1;
    const ordered = index < 0 ? rows : [...rows].sort((a, b) => {
      const x = value(a, index), y = value(b, index);
      if (x === null || y === null) return (x === null) - (y === null);  // no value: always last
      return sign * compare(x, y) || original.get(a) - original.get(b);
    });
    body.append(...ordered);
    for (const th of $$("th[data-k]", table)) {
      if (index >= 0 && th.dataset.k === view.sort) th.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    }
    let shown = 0;
    for (const row of rows) {
      row.hidden = !fields.every((field) => matches(row, field));
      shown += !row.hidden;
    }
    status.textContent = `${shown} of ${rows.length} candidates`;
  }

  function matches(row, field) {
    const wanted = field.value.trim();
    if (!wanted) return true;
    const kind = field.dataset.filter;
    if (kind === "text") return row.textContent.toLowerCase().includes(wanted.toLowerCase());
    if (kind === "min" || kind === "max") {
      if (row.dataset.lam === "") return false;
      return kind === "min" ? Number(row.dataset.lam) >= Number(wanted) : Number(row.dataset.lam) <= Number(wanted);
    }
    if (kind === "best") return row.dataset.best === "1";
    return row.dataset[kind] === wanted;
  }

  function load() {
    const hash = state.read();
    view.sort = hash.get("sort") || "";
    view.dir = hash.get("dir") || "";
    for (const field of fields) field.value = hash.get(field.id) || "";
    draw();
  }

  for (const th of $$("th[data-k]", table)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      const first = th.dataset.first || "down";
      view.dir = view.sort === th.dataset.k ? (view.dir === "up" ? "down" : "up") : first;
      view.sort = th.dataset.k;
      state.write(view);
      draw();
    });
  }
  for (const field of fields) {
    field.addEventListener("input", () => { state.write({ [field.id]: field.value.trim() }); draw(); });
  }
  $("#clear").addEventListener("click", () => {
    for (const field of fields) field.value = "";
    state.write(Object.fromEntries(fields.map((field) => [field.id, ""])));
    draw();
    fields[0].focus();
  });
  addEventListener("hashchange", load);
  load();
})();
