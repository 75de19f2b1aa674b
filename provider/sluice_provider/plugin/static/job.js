// The tab "Remote job" of a task instance: what was asked for, how far it is, and everything that happened to it.

import {
  amount, CLOCK, DAY, h, moment, Notice, plural, Progress, RemoteId, span, State, STATES, useAnswer, words,
} from "./parts.js";

const WHAT = {
  intent: "About to ask",
  asked: "Asked",
  state: "State",
  reattached: "Re-attached",
  doubt: "In doubt",
  mended: "Trigger replaced",
  rejected: "Row rejected",
  ended: "Ended",
  error: "Error",
  cancel: "Cancelling",
  deferred: "Deferred",
};
const SHOWN = 20; // rejected rows in a row, before the others are folded away

function RemoteJob({ dagId, runId, taskId, mapIndex }) {
  const index = mapIndex === undefined || mapIndex === "" ? "-1" : String(mapIndex);
  const query = [["dag_id", dagId], ["run_id", runId], ["task_id", taskId], ["map_index", index]];
  const { data, error } = useAnswer("job", query);
  return h(
    "div",
    { className: "sluice sluice-tab" },
    error && h(Notice, { bad: true }, error),
    !data && !error && h(Notice, null, "Looking …"),
    data && (data.job ? h(Job, { ...data }) : h(Notice, null, none(data))),
  );
}

const none = (data) =>
  data.unreadable
    ? "The journal of this task was written by another version of the provider and cannot be shown."
    : "This task has no remote job.";

const Job = ({ job, history, now }) =>
  h(
    "div",
    { className: "sluice-columns" },
    h(
      "section",
      { className: "sluice-panel" },
      h("h3", null, `${job.title} ${job.noun}`),
      h(
        "div",
        { className: "sluice-now" },
        h(State, { state: job.state, large: true }),
        differs(job) && h("span", { className: "sluice-muted" }, job.word),
      ),
      job.message && h("p", { className: "sluice-message" }, job.message),
      h(Progress, { job }),
      h(Facts, { job, now }),
    ),
    h("section", { className: "sluice-panel" }, h("h3", null, "History"), h(History, { lines: history })),
  );

const differs = (job) => job.word && job.word.toLowerCase() !== STATES[job.state].toLowerCase();

const OVER = new Set(["succeeded", "failed", "cancelled"]);

function Facts({ job, now }) {
  const id = job.ids.length || job.url ? h(RemoteId, { job, most: 10 }) : "none yet";
  const facts = [
    [job.id_count > 1 ? "Remote ids" : "Remote id", id],
    ["Asked", moment(job.asked_at)],
    OVER.has(job.state) && ["Ended", `${moment(job.ended_at)}, after ${span(job.ended_at - job.asked_at)}`],
    job.ended_at === null && ["Going on for", span(now - job.asked_at)],
    ["Last news", `${moment(job.at)}, ${span(now - job.at)} ago`],
    ["Attempt", `${job.attempt || 1} of ${job.attempts}`],
    job.rounds > 0 && ["Asked for", plural(job.rounds + 1, "time")],
    ["Connection", job.conn_id],
    ...Object.entries(job.counts).map(([name, value]) => [heading(words(name)), amount(value)]),
  ];
  const pair = ([name, value]) => [h("dt", { key: name }, name), h("dd", { key: `${name}:` }, value)];
  return h("dl", { className: "sluice-facts" }, facts.filter(Boolean).flatMap(pair));
}

const heading = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function History({ lines }) {
  if (!lines.length) return h("p", { className: "sluice-muted" }, "Nothing was written down yet.");
  let last = "";
  const events = folded(lines).map((line, index) => {
    const today = moment(line.at, DAY), day = today === last ? null : today;
    last = today;
    return h(Event, { key: index, line, day });
  });
  return h("ol", { className: "sluice-history" }, events);
}

const Event = ({ line, day }) =>
  h(
    "li",
    { className: `sluice-w-${line.what}` },
    day && h("div", { className: "sluice-day" }, day),
    h("time", { dateTime: new Date(line.at * 1000).toISOString(), title: moment(line.at) }, moment(line.at, CLOCK)),
    h("span", { className: "sluice-dot", "aria-hidden": true }),
    h("div", null, h("b", null, WHAT[line.what] ?? words(line.what)), h("span", null, line.text)),
  );

// Rejected rows beyond the first ones are counted, so that they do not hide what came after.
function folded(lines) {
  const shown = [];
  let many = 0;
  for (const line of lines) {
    many = line.what === "rejected" ? many + 1 : 0;
    if (many <= SHOWN) shown.push(line);
    else if (many === SHOWN + 1) shown.push({ ...line, text: "and 1 more row" });
    else shown[shown.length - 1] = { ...line, text: `and ${amount(many - SHOWN)} more rows` };
  }
  return shown;
}

globalThis["Remote job"] = RemoteJob;
