"use strict";
// Two candidates on one task, example by example. Shards arrive as scripts, because a page opened from file:// may
// not fetch. Whatever a model wrote is only ever set as text.
(() => {
  const DATA = JSON.parse($("#data").textContent);
  const PAGE = 100;
  const fields = { task: $("#task"), a: $("#a"), b: $("#b"), show: $("#show"), subset: $("#subset"), order: $("#order") };
  const body = $("#list tbody"), told = $("#told"), more = $("#more"), dialog = $("#example");
  let view = null;   // what is listed now: {task, index, a, b, rows, shown}
  let turn = 0;      // later changes win over shards that are still on their way
  let opened = 0;    // and so do examples opened later

  // -- shards -----------------------------------------------------------------------------------------------
  const waiting = new Map(), loaded = new Map();
  window.__shard = (name, text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    waiting.get(name)?.resolve(new Response(stream).json());
  };
  function shard(name) {
    if (!loaded.has(name)) {
      loaded.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        waiting.set(name, { resolve });
        script.src = name;
        script.onerror = () => { loaded.delete(name); reject(new Error(`${name} cannot be read: is the whole folder here?`)); };
        script.onload = () => script.remove();
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  }
  async function rewards(candidate) {
    const parts = await Promise.all(candidate.files.map(shard));
    return { values: parts.flatMap((p) => p.rewards), cut: new Set(parts.flatMap((p) => p.cut)) };
  }

  // -- what rewards make of an example (as leaderboard.metrics has it) ------------------------------------------
  function judge(labels, run, start, outcome) {
    const values = run.values.slice(start, start + labels.length);
    const cut = values.some((_, i) => run.cut.has(start + i));
    if (!values.length || values.includes(null) || values.includes(undefined)) return { values, picks: [], score: null, margin: null, cut };
    const top = Math.max(...values);
    const picks = values.flatMap((v, i) => (v === top ? [i] : []));
    const best = (mark) => Math.max(...values.filter((_, i) => labels[i] === mark));
    const margin = best("1") - best("0");
    const right = [...labels].filter((x) => x === "1").length;
    let score = null;
    if (!labels.includes("?")) {
      if (outcome === "best_of_n") score = picks.filter((i) => labels[i] === "1").length / picks.length;
      else if (right === 1 && labels.length > 1) score = margin > 0 ? 1 : 0;
    }
    return { values, picks, score, margin: Number.isFinite(margin) ? margin : null, cut };
  }

  const keeps = {
    differ: (a, b) => a.score !== null && b.score !== null && a.score !== b.score,
    a: (a, b) => a.score !== null && b.score !== null && a.score > b.score,
    b: (a, b) => a.score !== null && b.score !== null && b.score > a.score,
    wrong: (a, b) => a.score === 0 && b.score === 0,
    none: (a, b) => a.score === null || b.score === null,
    all: () => true,
  };

  // -- the list ---------------------------------------------------------------------------------------------
  function options(select, entries, value) {
    select.replaceChildren(...entries.map(([key, text]) => new Option(text, key)));
    select.value = entries.some(([key]) => key === value) ? value : entries[0][0];
  }

  async function load() {
    const mine = ++turn, hash = state.read(), names = Object.keys(DATA);
    options(fields.task, names.map((n) => [n, n]), hash.get("task"));
    const task = DATA[fields.task.value], people = task.candidates;
    const pairs = people.map((c) => [c.id, `${c.name} (${c.score})`]);
    const base = task.baseline || people[people.length - 1].id;
    options(fields.a, pairs, hash.get("a") || (people[0].id === base ? people[1].id : people[0].id));
    options(fields.b, pairs, hash.get("b") || base);
    fields.show.value = hash.get("show") in keeps ? hash.get("show") : "differ";
    fields.order.value = hash.get("order") === "margin" ? "margin" : "data";
    told.textContent = "Loading…";
    try {
      const pick = (id) => people.find((c) => c.id === id);
      const [index, a, b] = await Promise.all([shard(task.index), rewards(pick(fields.a.value)), rewards(pick(fields.b.value))]);
      if (mine !== turn) return;
      options(fields.subset, [["", "all"], ...index.subsets.map((s) => [s, visible(s)])], hash.get("subset") || "");
      view = { task, index, a, b, nameA: pick(fields.a.value).name, nameB: pick(fields.b.value).name, shown: PAGE };
      judgeAll();
      draw();
      const wanted = hash.get("ex");
      if (wanted !== null && index.ids.includes(wanted)) await open(index.ids.indexOf(wanted));
      else if (dialog.open) dialog.close();
    } catch (error) {
      if (mine === turn) told.textContent = error.message;
    }
  }

  function judgeAll() {
    const { index, task } = view, subset = index.subsets.indexOf(fields.subset.value);
    const tally = { a: 0, b: 0, same: 0, none: 0 };
    let start = 0;
    view.rows = [];
    index.labels.forEach((labels, i) => {
      const a = judge(labels, view.a, start, task.outcome), b = judge(labels, view.b, start, task.outcome);
      start += labels.length;
      if (subset >= 0 && index.subset[i] !== subset) return;
      tally[a.score === null || b.score === null ? "none" : a.score > b.score ? "a" : b.score > a.score ? "b" : "same"]++;
      if (keeps[fields.show.value](a, b)) view.rows.push({ i, a, b, labels });
    });
    if (fields.order.value === "margin") {
      const gap = (r) => (r.a.margin === null || r.b.margin === null ? -1 : Math.abs(r.a.margin - r.b.margin));
      view.rows.sort((x, y) => gap(y) - gap(x));
    }
    view.tally = tally;
  }

  const mark = (score) => (score === null ? "?" : score === 1 ? "✓" : score === 0 ? "✗" : Math.round(100 * score) + "%");
  const spoken = (score) => (score === null ? "no outcome" : score === 1 ? "right" : score === 0 ? "wrong" : `${Math.round(100 * score)}% right`);
  const decimal = (x) => (x === null || x === undefined ? "–" : x.toFixed(3).replace("-", "−"));

  function cell(text, kind = "") {
    const td = document.createElement("td");
    td.className = kind;
    td.textContent = text;
    return td;
  }

  function draw() {
    const { rows, index, tally } = view;
    body.replaceChildren(...rows.slice(0, view.shown).map((row) => {
      const tr = document.createElement("tr"), th = document.createElement("th"), button = document.createElement("button");
      th.scope = "row";
      button.type = "button";
      button.textContent = visible(index.ids[row.i]);
      button.setAttribute("aria-label", "Open example " + visible(index.ids[row.i]));
      button.addEventListener("click", () => state.write({ ex: index.ids[row.i] }) || open(row.i));
      th.append(button);
      const head = cell(visible(index.heads[row.i]), "l w");
      head.dir = "auto";
      tr.append(th, cell(visible(index.subsets[index.subset[row.i]]), "l"), head,
        outcome(row.a), cell(decimal(row.a.margin)), outcome(row.b), cell(decimal(row.b.margin)));
      return tr;
    }));
    more.hidden = rows.length <= view.shown;
    told.textContent = `${rows.length} examples listed. A better on ${tally.a}, B better on ${tally.b}, equal on ${tally.same}`
      + (tally.none ? `, no outcome on ${tally.none}` : "") + ".";
  }

  function outcome(judged) {
    const td = cell(mark(judged.score), judged.score === 1 ? "up" : judged.score === 0 ? "down" : "");
    td.title = spoken(judged.score);
    const words = document.createElement("span");
    words.className = "sr";
    words.textContent = " " + spoken(judged.score);
    td.append(words);
    return td;
  }

  // -- the list as a file -----------------------------------------------------------------------------------
  function entries() {
    const { rows, index } = view;
    return rows.map((r) => ({
      task: fields.task.value, example: index.ids[r.i], subset: index.subsets[index.subset[r.i]], a: view.nameA, b: view.nameB,
      outcome_a: r.a.score, outcome_b: r.b.score, margin_a: r.a.margin, margin_b: r.b.margin,
      labels: r.labels, rewards_a: r.a.values, rewards_b: r.b.values,
    }));
  }

  // A text that a spreadsheet would run as a formula starts with an apostrophe (leaderboard/downloads.py does the same).
  function csv(rows) {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const field = (value) => {
      if (value === null) return "";
      if (Array.isArray(value)) return quoted(JSON.stringify(value));
      return quoted(typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" + value : String(value));
    };
    return [Object.keys(rows[0]), ...rows.map((row) => Object.values(row))].map((row) => row.map(field).join(",") + "\r\n").join("");
  }

  function save(kind) {
    if (!view || !view.rows.length) return;
    const rows = entries(), link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([kind === "csv" ? csv(rows) : JSON.stringify(rows, null, 0)]));
    link.download = `compare-${fields.task.value.replace(/[^\w-]+/g, "-")}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // -- one example ------------------------------------------------------------------------------------------
  function element(tag, text, kind) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  }

  function block(label, text) {
    const node = element("div", visible(text), "text");
    node.dir = "auto";
    node.tabIndex = 0;
    node.setAttribute("role", "region");
    node.setAttribute("aria-label", label);
    return node;
  }

  function response(row, texts, k) {
    const card = element("article", undefined, "card"), label = row.labels[k];
    const head = element("h3", `Response ${k + 1} `);
    head.append(element("span", { 1: "✓ correct", 0: "✗ wrong", "?": "? unknown" }[label], { 1: "up", 0: "down", "?": "warn" }[label]));
    for (const [name, judged] of [["A", row.a], ["B", row.b]]) {
      if (judged.picks.includes(k)) head.append(" ", element("span", `${name} picks` + (judged.picks.length > 1 ? " (tied)" : ""), "tag best"));
    }
    const rank = (judged) => (judged.values.includes(null) ? "" : ` (rank ${1 + judged.values.filter((v) => v > judged.values[k]).length})`);
    card.append(head, element("p", `Reward A ${decimal(row.a.values[k])}${rank(row.a)} · B ${decimal(row.b.values[k])}${rank(row.b)}`, "num"));
    const facts = [["sources", "written by"], ["answers", "answer"], ["reasons", "label because"]]
      .flatMap(([key, name]) => (texts[key] && texts[key][k] ? [`${name} ${visible(texts[key][k])}`] : []));
    if (facts.length) card.append(element("p", facts.join(" · "), "mut"));
    card.append(block(`Text of response ${k + 1}`, texts.texts[k]));
    return card;
  }

  async function open(i) {
    const { task, index } = view, mine = turn, nth = ++opened;
    let part = 0;
    while (part + 1 < task.starts.length && task.starts[part + 1] <= i) part++;
    const texts = (await shard(task.texts[part]))[i - task.starts[part]];
    if (mine !== turn || nth !== opened) return;
    const row = view.rows.find((r) => r.i === i) || alone(i);
    const order = [...new Set([...row.a.picks.slice(0, 1), ...row.b.picks.slice(0, 1), ...texts.texts.keys()])];
    const lead = order.length === 2 ? [0, 1] : order.slice(0, 2), rest = order.slice(2);
    const cards = element("div", undefined, "two");
    cards.append(...lead.map((k) => response(row, texts, k)));
    const parts = [element("p", `Subset ${visible(index.subsets[index.subset[i]])}. A is ${visible(view.nameA)}: ${spoken(row.a.score)}, margin ${decimal(row.a.margin)}. `
      + `B is ${visible(view.nameB)}: ${spoken(row.b.score)}, margin ${decimal(row.b.margin)}.` + (row.a.cut || row.b.cut ? " A text was cut to fit." : ""))];
    parts.push(...texts.prompt.map(([role, text]) => {
      const turnBlock = element("div");
      turnBlock.append(element("h3", visible(role)), block(`Prompt, ${visible(role)}`, text));
      return turnBlock;
    }), cards);
    if (rest.length) {
      const fold = element("details"), others = element("div", undefined, "two");
      others.append(...rest.sort((x, y) => x - y).map((k) => response(row, texts, k)));
      fold.append(element("summary", `The other ${rest.length} responses`), others);
      parts.push(fold);
    }
    $("#title").textContent = "Example " + visible(index.ids[i]);
    $("#content").replaceChildren(...parts);
    const place = view.rows.findIndex((r) => r.i === i);
    dialog.dataset.place = place;
    $("#place").textContent = place < 0 ? "not in the list" : `${place + 1} of ${view.rows.length}`;
    $("#previous").disabled = place <= 0;
    $("#next").disabled = place < 0 || place + 1 >= view.rows.length;
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  function alone(i) {
    const { index, task } = view;
    const start = index.labels.slice(0, i).reduce((sum, labels) => sum + labels.length, 0);
    return { i, labels: index.labels[i], a: judge(index.labels[i], view.a, start, task.outcome), b: judge(index.labels[i], view.b, start, task.outcome) };
  }

  function step(by) {
    const row = view && view.rows[Number(dialog.dataset.place) + by];
    if (!row || Number(dialog.dataset.place) < 0) return;
    state.write({ ex: view.index.ids[row.i] });
    open(row.i);
  }

  // -- wiring -----------------------------------------------------------------------------------------------
  for (const [name, field] of Object.entries(fields)) {
    field.addEventListener("change", () => {
      if (name === "task") state.write({ a: "", b: "", subset: "" });
      state.write({ [name]: field.value, ex: "" });
      load();
    });
  }
  $("#swap").addEventListener("click", () => {
    state.write({ a: fields.b.value, b: fields.a.value, ex: "" });
    load();
  });
  for (const kind of ["csv", "json"]) $("#save-" + kind).addEventListener("click", () => save(kind));
  more.addEventListener("click", () => { view.shown += PAGE; draw(); });
  $("#previous").addEventListener("click", () => step(-1));
  $("#next").addEventListener("click", () => step(1));
  $("#close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => state.write({ ex: "" }));
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowRight: 1, j: 1, ArrowLeft: -1, k: -1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  addEventListener("hashchange", load);
  load();
})();
