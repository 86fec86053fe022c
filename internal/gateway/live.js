"use strict";
// Reads the stream of GET v1/live and shows it. What comes in is text by strangers:
// it becomes text on the page and nothing else. The server's clock is the one that counts.
(() => {
  const tokenKey = "tocsin-token";
  const silence = 15_000; // ms without a byte, after which the stream is taken for dead
  const aged = 5_000; // ms after which figures are no longer called live
  const outcomes = ["delivered", "open", "dead", "expired", "superseded", "suppressed"];
  const traced = 120; // points of the curve
  const over = new Set(["resolved", "completed"]);

  const byID = (id) => document.getElementById(id);
  const count = new Intl.NumberFormat("en").format;
  const list = (names) => new Intl.ListFormat("en").format(names);

  // Elements.

  function make(tag, name = "", ...children) {
    const e = document.createElement(tag);
    if (name) e.className = name;
    e.append(...children);
    return e;
  }
  // Only what changes is touched, so that selections and screen readers are left in peace.
  function write(e, text) {
    if (e.textContent !== text) e.textContent = text;
  }
  function mark(e, attribute, value) {
    if (e.getAttribute(attribute) !== value) e.setAttribute(attribute, value);
  }
  function tone(e, value) {
    mark(e, "data-tone", value);
  }
  // each gives parent one child for each item, and keeps those that stay.
  function each(parent, items, keyOf, create, fill) {
    const had = parent.byKey ?? new Map();
    parent.byKey = new Map();
    items.forEach((item, n) => {
      const key = keyOf(item, n);
      const e = had.get(key) ?? create(item);
      had.delete(key);
      parent.byKey.set(key, e);
      fill(e, item);
      if (parent.children[n] !== e) parent.insertBefore(e, parent.children[n] ?? null);
    });
    for (const e of had.values()) e.remove();
  }
  const byPlace = (_, n) => n;
  function number(e, n) {
    write(e, n === null || n === undefined ? "–" : count(n));
    e.classList.toggle("none", !n);
  }
  function row(...cells) {
    const e = make("tr");
    cells.forEach((name, n) => e.append(n ? make("td", name) : make("th")));
    e.firstChild.scope = "row";
    return e;
  }

  // Words.

  function age(seconds) {
    seconds = Math.max(0, Math.round(seconds));
    if (seconds < 90) return `${seconds} s`;
    if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
    if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86400)} d`;
  }
  const since = (moment, now) => age((now - Date.parse(moment)) / 1000);
  const clock = (moment) => new Date(moment).toISOString().slice(11, 19) + " UTC";
  const rate = (n) => (n === null ? "–" : n > 0 && n < 10 ? n.toFixed(1) : count(Math.round(n)));
  const impactTone = { critical: "bad", major: "bad", minor: "warn", maintenance: "info" };
  const laneTone = { open: "bad", paused: "warn", limited: "info", delayed: "info", ready: "good", window: "good" };

  // Parts of the page.

  const trace = [];
  function showFigures(s) {
    const rates = s.channels.map((c) => c.delivered_per_second).filter((n) => n !== null);
    const sum = rates.length ? rates.reduce((a, b) => a + b, 0) : null;
    write(byID("rate"), rate(sum));
    if (sum !== null) trace.push(sum);
    if (trace.length > traced) trace.shift();
    const top = Math.max(1, ...trace);
    mark(byID("trace").firstChild, "points",
      trace.map((n, i) => `${traced - trace.length + i + 1},${(23 - (22 * n) / top).toFixed(1)}`).join(" "));

    const p = s.providers;
    write(byID("in-flight"), count(p.in_flight));
    write(byID("waiting"), count(Math.max(0, p.holding - p.in_flight)));
    write(byID("blocked"), p.blocked ? `${count(p.blocked)} held back` : "");
    const queues = s.queues ?? [];
    const oldest = queues.map((q) => q.oldest_at).filter(Boolean).sort()[0];
    write(byID("queued"), s.queues ? count(queues.reduce((n, q) => n + q.ready + q.held, 0)) : "–");
    write(byID("oldest"), oldest ? `oldest ${since(oldest, Date.parse(s.at))}` : "");
    const c = s.connections;
    write(byID("connections"), count(c.used));
    write(byID("budget"), `of ${count(c.budget)}`);
    const part = c.budget ? Math.min(1, c.used / c.budget) : 0;
    byID("connections-meter").style.width = `${(100 * part).toFixed(1)}%`;
    tone(byID("connections-meter"), part > 0.95 ? "bad" : "info");
  }

  function showMachinery(s) {
    each(byID("channel-rows"), s.channels, (c) => c.channel, () => row("", "n", "n", "n", "n", "n"), (e, c) => {
      const [name, inFlight, perSecond, delivered, dead, expired] = e.children;
      write(name, c.channel);
      number(inFlight, c.in_flight);
      write(perSecond, rate(c.delivered_per_second));
      perSecond.classList.toggle("none", !c.delivered_per_second);
      number(delivered, c.ended.delivered ?? 0);
      number(dead, c.ended.dead ?? 0);
      number(expired, c.ended.expired ?? 0);
    });
    each(byID("provider-rows"), s.providers.items, (p) => p.group, () => row("", "", "n", "n", "n", ""), (e, p) => {
      const [name, lanes, waiting, inFlight, tokens, breaker] = e.children;
      write(name, p.group);
      const chips = Object.entries(p.lanes).map(([state, n]) =>
        ({ text: p.pool ? `${state} ${count(n)}` : state, tone: laneTone[state] ?? "quiet" }));
      if (p.paused) chips.unshift({ text: "paused by an operator", tone: "warn" });
      if (!chips.length) chips.push({ text: "idle", tone: "quiet" });
      each(lanes, chips, byPlace, () => make("span", "chip"), (chip, c) => {
        write(chip, c.text);
        tone(chip, c.tone);
      });
      number(waiting, p.waiting);
      number(inFlight, p.in_flight);
      write(tokens, p.tokens === null ? "" : count(Math.floor(p.tokens)));
      write(breaker, p.breaker ?? "");
      tone(breaker, p.breaker === "open" ? "bad" : p.breaker === "half-open" ? "warn" : "");
    });
    const also = s.providers.also_paused;
    byID("also-paused").hidden = !also.length;
    write(byID("also-paused"), also.length
      ? `Paused by an operator as well: ${list(also.slice(0, 8))}${also.length > 8 ? `, and ${count(also.length - 8)} more` : ""}.` : "");

    if (!s.queues) return write(byID("queues-said"), "The queue gives no figures now.");
    write(byID("queues-said"), "Batches of up to 100 deliveries; events in the intake.");
    each(byID("queue-rows"), s.queues, (q) => q.queue, () => row("", "n", "n", "n"), (e, q) => {
      const [name, ready, held, oldest] = e.children;
      write(name, q.queue);
      number(ready, q.ready);
      number(held, q.held);
      write(oldest, q.oldest_at ? since(q.oldest_at, Date.parse(s.at)) : "–");
      oldest.classList.toggle("none", !q.oldest_at);
    });
  }

  function showBar(bar, counts) {
    each(bar, outcomes, (o) => o, (o) => make("i", `o-${o}`), (part, o) => {
      part.style.flexGrow = String(counts[o] ?? 0);
    });
  }

  function newIncident() {
    const e = make("details", "incident");
    const line = make("span", "line", make("span", "chip"), make("bdi", "name"), make("bdi", "title"), make("time", "when"));
    const bar = make("span", "bar");
    bar.setAttribute("aria-hidden", "true");
    e.append(make("summary", "", line, make("span", "total", bar, make("span"))), make("div"));
    return e;
  }
  function showIncident(e, shown, now) {
    const i = shown.incident, updates = i.updates ?? [];
    const [summary, body] = e.children;
    const [line, total] = summary.children;
    const [chip, name, title, when] = line.children;
    write(chip, over.has(i.status) ? i.status.replace("_", " ") : `${i.impact}, ${i.status.replace("_", " ")}`);
    tone(chip, over.has(i.status) ? "quiet" : impactTone[i.impact] ?? "quiet");
    write(name, i.page === "default" ? i.incident_id : `${i.incident_id} on ${i.page}`);
    const titled = (updates.find((u) => u.sequence > 0) ?? updates[0])?.title ?? "";
    write(title, titled);
    showTime(when, i.updated_at, now);

    const sum = {};
    for (const u of updates) for (const counts of Object.values(u.progress))
      for (const [o, n] of Object.entries(counts)) sum[o] = (sum[o] ?? 0) + n;
    const all = Object.values(sum).reduce((a, b) => a + b, 0);
    showBar(total.children[0], sum);
    const said = outcomes.filter((o) => sum[o]).map((o) => `${count(sum[o])} ${o}`);
    write(total.children[1], shown.counted_at === null ? "not counted yet"
      : (all ? said.join(", ") : "nobody to tell") + (i.stopped ? ", stopped" : ""));

    const more = shown.earlier_updates;
    each(body, more ? [...updates, { more }] : updates, (u) => u.update_id ?? "more", newUpdate, (child, u) => showUpdate(child, u, titled, now));
    // What goes on is open at first; then it is the reader's.
    if (!e.met) e.open = !over.has(i.status) || Boolean(sum.open);
    e.met = true;
  }
  function showTime(e, moment, now) {
    mark(e, "datetime", moment ?? "");
    mark(e, "title", moment ?? "");
    write(e, moment ? `${since(moment, now)} ago` : "");
  }

  function newUpdate(u) {
    if (u.more) return make("p", "update quiet");
    const e = make("div", "update");
    e.append(make("p", "head", make("b"), make("bdi"), make("span", "quiet"), make("time", "when")), make("p", "message"));
    const table = make("table"), head = make("tr");
    const titles = ["Channel", "Progress", ...outcomes];
    titles.forEach((t, n) => {
      const th = make("th", n > 1 ? "n" : "", t);
      th.scope = "col";
      mark(th, "role", "columnheader");
      head.append(th);
    });
    table.append(make("thead", "", head), make("tbody"));
    // Said again, as a narrow window's style would take it away.
    for (const [part, role] of [[table, "table"], [table.tHead, "rowgroup"], [table.tBodies[0], "rowgroup"], [head, "row"]]) mark(part, "role", role);
    e.append(table);
    return e;
  }
  function showUpdate(e, u, known, now) {
    if (u.more) return write(e, `${count(u.more)} earlier ${u.more === 1 ? "update" : "updates"}`);
    const [head, message, table] = e.children;
    const [what, title, planned, when] = head.children;
    write(what, u.sequence ? `${u.sequence} ${u.status.replace("_", " ")}` : "too late, not sent");
    write(title, u.title === known ? "" : u.title);
    write(planned, !u.sequence ? "" : u.planned_at ? `${count(u.audience)} to tell` : `planning, ${count(u.audience)} so far`);
    showTime(when, u.accepted_at, now);
    write(message, u.message);
    const channels = Object.entries(u.progress).sort(([a], [b]) => (a < b ? -1 : 1));
    table.hidden = !channels.length;
    each(table.tBodies[0], channels, ([name]) => name, newProgress, (line, [name, counts]) => {
      const [channel, bars, ...cells] = line.children;
      write(channel, name || "deleted");
      showBar(bars.firstChild, counts);
      outcomes.forEach((o, n) => number(cells[n], counts[o] ?? 0));
    });
  }
  function newProgress() {
    const e = row("", "bars", ...outcomes.map(() => "n"));
    mark(e, "role", "row");
    mark(e.firstChild, "role", "rowheader");
    const bar = make("span", "bar");
    mark(bar, "aria-hidden", "true");
    e.children[1].append(bar);
    [...e.children].slice(1).forEach((cell, n) => {
      mark(cell, "role", "cell");
      if (n) mark(cell, "data-name", outcomes[n - 1]);
    });
    return e;
  }

  function showIncidents(s) {
    const said = byID("incidents-said"), incidents = s.incidents;
    said.hidden = Boolean(incidents?.length);
    write(said, !incidents ? "The incidents can't be read now." : incidents.length ? "" : "No incident yet.");
    if (!incidents) return;
    const now = Date.parse(s.at);
    each(byID("incident-list"), incidents, (i) => `${i.incident.page} ${i.incident.incident_id}`, newIncident,
      (e, i) => showIncident(e, i, now));
  }

  // The state of things, and of the line to them.

  let lastAt = null; // of the newest snapshot: the engine's time
  let lastCame = 0; // and ours, for its age
  function say(text, kind) {
    write(byID("state"), text);
    tone(byID("state"), kind);
    document.title = kind === "good" ? "Tocsin" : `${text} – Tocsin`;
  }
  function show(s) {
    lastAt = s.at;
    lastCame = performance.now();
    byID("shown").hidden = false;
    byID("ask").hidden = true;
    const faults = Object.entries(s.parts).filter(([, word]) => word !== "ok");
    if (s.ready === null) say("Asking whether it is ready …", "quiet");
    else if (faults.length) say("Not ready: " + faults.map(([part, word]) => `${part}: ${word}`).join("; "), "bad");
    else if (s.providers.paused) say("Ready, and everything is paused by an operator", "warn");
    else say(`Ready: ${list(Object.keys(s.parts).sort())}`, "good");
    showFigures(s);
    showIncidents(s);
    showMachinery(s);
    showAge();
  }
  function showAge() {
    const late = document.body.dataset.line === "cut" || performance.now() - lastCame > aged;
    write(byID("as-of"), lastAt === null ? "" : late ? `as of ${clock(lastAt)}, ${age((performance.now() - lastCame) / 1000)} ago` : clock(lastAt));
    document.body.classList.toggle("stale", late);
  }
  setInterval(showAge, 1000);

  // The stream.

  let retry = 2_000; // ms, as the stream says
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  // read takes a stream apart (WHATWG HTML §9.2.6), as far as ours goes: data in
  // one or more lines, retry, comments.
  async function read(body, awake) {
    const lines = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "", data = [];
    for (;;) {
      const { done, value } = await lines.read();
      if (done) return;
      awake();
      const whole = (rest + value).split("\n");
      rest = whole.pop();
      for (const line of whole) {
        const [, field, text] = /^([^:\r]*):? ?([^\r]*)/.exec(line);
        if (field === "data") data.push(text);
        else if (field === "retry" && /^\d+$/.test(text)) retry = Number(text);
        else if (line === "" || line === "\r") {
          if (data.length) show(JSON.parse(data.join("\n")));
          data = [];
        }
      }
    }
  }

  // follow follows the stream to its end, and says why it ended if that is known.
  async function follow(token) {
    const cut = new AbortController();
    let timer = setTimeout(() => cut.abort(), silence);
    const awake = () => {
      clearTimeout(timer);
      timer = setTimeout(() => cut.abort(), silence);
    };
    try {
      const headers = { Accept: "text/event-stream" };
      if (token) headers.Authorization = `Bearer ${token}`;
      // Relative, for proxies that add a path.
      const response = await fetch("v1/live", { headers, signal: cut.signal, cache: "no-store", redirect: "error" });
      if (response.status === 401) return "token";
      if (!response.ok) {
        const problem = await response.json().catch(() => ({}));
        return problem.detail ?? `status ${response.status}`;
      }
      document.body.dataset.line = "whole";
      byID("forget").hidden = !token;
      await read(response.body, awake);
      return "";
    } finally {
      clearTimeout(timer);
      cut.abort(); // closes the connection also if what came could not be shown
    }
  }

  // askToken waits for the reader to give one.
  function askToken(refused) {
    const form = byID("ask"), field = byID("token");
    byID("shown").hidden = lastAt === null;
    form.hidden = false;
    if (refused) write(byID("ask-said"), "That token was not taken. It is one of those in the engine's configuration.");
    say("A token is needed", "warn");
    field.focus();
    return new Promise((given) => {
      form.onsubmit = (event) => {
        event.preventDefault();
        const token = field.value.trim();
        field.value = "";
        form.hidden = true;
        // Nothing else can be one, or be sent in a header.
        given(/^[\x21-\x7e]+$/.test(token) ? token : "-");
      };
    });
  }

  async function stay() {
    let token = sessionStorage.getItem(tokenKey);
    for (;;) {
      let why = "";
      try {
        why = await follow(token);
      } catch (error) {
        if (!["TypeError", "AbortError"].includes(error.name)) console.error(error);
      }
      document.body.dataset.line = "cut";
      showAge();
      if (why === "token") {
        sessionStorage.removeItem(tokenKey);
        token = await askToken(token !== null);
        sessionStorage.setItem(tokenKey, token);
        say("Connecting …", "quiet");
        continue;
      }
      say(why ? `Disconnected, trying again: ${why}` : "Disconnected, trying again", "bad");
      await sleep(retry * (1 + Math.random() / 2));
    }
  }

  byID("forget").onclick = () => {
    sessionStorage.removeItem(tokenKey);
    location.reload();
  };
  stay();
})();
