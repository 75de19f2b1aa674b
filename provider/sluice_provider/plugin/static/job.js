// The tab "Remote job" of a task instance: what was submitted, how far it is, and everything that happened to it.

import {
  amount, CLOCK, DAY, differs, h, JobId, moment, Notice, Progress, span, State, useAnswer, words,
} from "./parts.js";

const LABELS = {
  submitting: "Submitting",
  submitted: "Submitted",
  deferred: "Deferred",
  status: "Status",
  reconnected: "Reconnected",
  outcome_unknown: "Outcome unknown",
  trigger_restarted: "Trigger restarted",
  rejected: "Row rejected",
  ended: "Ended",
  error: "Error",
  cancel: "Cancelling",
  cleared: "Task cleared",
  replaced: "Submitted again",
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
    !data && !error && h(Notice, null, "Loading …"),
    data && (data.job ? h(Job, { ...data }) : h(Notice, null, none(data))),
  );
}

const none = (data) =>
  data.unreadable
    ? "The record of this task cannot be read: another version of the provider, or somebody else, wrote it."
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
        differs(job) && h("span", { className: "sluice-muted" }, job.service_status),
      ),
      job.message && h("p", { className: "sluice-message" }, job.message),
      h(Progress, { job }),
      h(Facts, { job, now }),
    ),
    h("section", { className: "sluice-panel" }, h("h3", null, "History"), h(History, { events: history })),
  );

const ENDED = new Set(["succeeded", "failed", "cancelled"]);

function Facts({ job, now }) {
  const id = job.ids.length || job.url ? h(JobId, { job, most: 10 }) : "none yet";
  const facts = [
    [job.id_count > 1 ? "Job IDs" : "Job ID", id],
    ["Submitted", moment(job.submitted_at)],
    ENDED.has(job.state) && ["Ended", `${moment(job.ended_at)}, after ${span(job.ended_at - job.submitted_at)}`],
    job.ended_at === null && ["Running for", span(now - job.submitted_at)],
    ["Last update", `${moment(job.updated_at)}, ${span(now - job.updated_at)} ago`],
    ["Try", `${job.try_number || 1} of ${job.tries}`],
    job.resubmissions > 0 && ["Resubmissions", amount(job.resubmissions)],
    ["Connection", job.conn_id],
    ...Object.entries(job.counts).map(([name, value]) => [heading(words(name)), amount(value)]),
  ];
  const pair = ([name, value]) => [h("dt", { key: name }, name), h("dd", { key: `${name}:` }, value)];
  return h("dl", { className: "sluice-facts" }, facts.filter(Boolean).flatMap(pair));
}

const heading = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function History({ events }) {
  if (!events.length) return h("p", { className: "sluice-muted" }, "No events yet.");
  let last = "";
  const items = folded(events).map((event, index) => {
    const today = moment(event.at, DAY), day = today === last ? null : today;
    last = today;
    return h(Event, { key: index, event, day });
  });
  return h("ol", { className: "sluice-history" }, items);
}

const Event = ({ event, day }) =>
  h(
    "li",
    { className: `sluice-w-${event.what}` },
    day && h("div", { className: "sluice-day" }, day),
    h("time", { dateTime: new Date(event.at * 1000).toISOString(), title: moment(event.at) }, moment(event.at, CLOCK)),
    h("span", { className: "sluice-dot", "aria-hidden": true }),
    h("div", null, h("b", null, LABELS[event.what] ?? words(event.what)), h("span", null, event.text)),
  );

// Rejected rows beyond the first ones are counted, so that they do not hide what came after.
function folded(events) {
  const shown = [];
  let many = 0;
  for (const event of events) {
    many = event.what === "rejected" ? many + 1 : 0;
    if (many <= SHOWN) shown.push(event);
    else if (many === SHOWN + 1) shown.push({ ...event, text: "and 1 more row" });
    else shown[shown.length - 1] = { ...event, text: `and ${amount(many - SHOWN)} more rows` };
  }
  return shown;
}

globalThis["Remote job"] = RemoteJob;
