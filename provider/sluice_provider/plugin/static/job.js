// The tab "Remote job" of a task instance: what was submitted, its progress, and its history.

import {
  CLOCK_TIME, DATE, ENDED, formatDuration, formatNumber, formatTime, formatTry, h, humanize, JobId, Notice, Progress,
  ServiceStatus, State, useApi,
} from "./shared.js";

const EVENT_LABELS = {
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
  replaced: "Resubmitting",
};
const MAX_REJECTED = 20; // consecutive rejected rows that are listed; the others are counted

const UNREADABLE =
  "The record of this task's remote job cannot be read: it was written by a newer version of the provider, or " +
  "edited. See the task's log for its remote job.";
const NO_JOB = "This task instance has not submitted a remote job.";

function RemoteJob({ dagId, runId, taskId, mapIndex }) {
  const index = mapIndex === undefined || mapIndex === "" ? "-1" : String(mapIndex);
  const query = [["dag_id", dagId], ["run_id", runId], ["task_id", taskId], ["map_index", index]];
  const { data, error } = useApi("job", query);
  return h(
    "div",
    { className: "sluice sluice-tab" },
    error && h(Notice, { error: true }, error),
    !data && !error && h(Notice, null, "Loading …"),
    data && (data.job ? h(Job, { ...data }) : h(Notice, null, data.unreadable ? UNREADABLE : NO_JOB)),
  );
}

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
        { className: "sluice-status" },
        h(State, { state: job.state, large: true }),
        h(ServiceStatus, { job, as: "span" }),
      ),
      job.message && h("p", { className: "sluice-message" }, job.message),
      h(Progress, { job }),
      h(Facts, { job, now }),
    ),
    h("section", { className: "sluice-panel" }, h("h3", null, "History"), h(History, { events: history })),
  );

function Facts({ job, now }) {
  const id = job.ids.length || job.url ? h(JobId, { job, max: 10 }) : "None yet";
  const submitted = job.submitted_at !== null;
  const duration = formatDuration((job.ended_at ?? now) - job.submitted_at);
  const facts = [
    [job.id_count > 1 ? "Job IDs" : "Job ID", id],
    ["Submitted", submitted ? formatTime(job.submitted_at) : "Nothing was submitted"],
    ENDED.has(job.state) && ["Ended", `${formatTime(job.ended_at)}${submitted ? `, after ${duration}` : ""}`],
    job.ended_at === null && submitted && ["Running for", duration],
    ["Last update", `${formatTime(job.updated_at)}, ${formatDuration(now - job.updated_at)} ago`],
    ["Try", formatTry(job)],
    job.resubmissions > 0 && ["Resubmissions", formatNumber(job.resubmissions)],
    ["Connection", job.conn_id],
    ...Object.entries(job.counts).map(([name, value]) => [capitalize(humanize(name)), formatNumber(value)]),
  ];
  const pair = ([name, value]) => [h("dt", { key: name }, name), h("dd", { key: `${name}:` }, value)];
  return h("dl", { className: "sluice-facts" }, facts.filter(Boolean).flatMap(pair));
}

const capitalize = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function History({ events }) {
  if (!events.length) return h("p", { className: "sluice-muted" }, "No events yet.");
  let lastDate = "";
  const items = foldRejected(events).map((event, index) => {
    const date = formatTime(event.at, DATE), newDate = date === lastDate ? null : date;
    lastDate = date;
    return h(Event, { key: index, event, newDate });
  });
  return h("ol", { className: "sluice-history" }, items);
}

const Event = ({ event, newDate }) =>
  h(
    "li",
    { className: `sluice-event-${event.type}` },
    newDate && h("div", { className: "sluice-date" }, newDate),
    h(
      "time",
      { dateTime: new Date(event.at * 1000).toISOString(), title: formatTime(event.at) },
      formatTime(event.at, CLOCK_TIME),
    ),
    h("span", { className: "sluice-dot", "aria-hidden": true }),
    h("div", null, h("b", null, EVENT_LABELS[event.type] ?? humanize(event.type)), h("span", null, event.text)),
  );

// Rejected rows after the first ones are counted, so that they do not hide later events.
function foldRejected(events) {
  const shown = [];
  let rejected = 0;
  for (const event of events) {
    rejected = event.type === "rejected" ? rejected + 1 : 0;
    if (rejected <= MAX_REJECTED) shown.push(event);
    else if (rejected === MAX_REJECTED + 1) shown.push({ ...event, text: "and 1 more row" });
    else shown[shown.length - 1] = { ...event, text: `and ${formatNumber(rejected - MAX_REJECTED)} more rows` };
  }
  return shown;
}

globalThis["Remote job"] = RemoteJob;
