// The page "Remote jobs": what runs in the services, its progress, and what failed and why.

import {
  CLOCK_TIME, dagPath, ENDED, formatDuration, formatNumber, formatTime, formatTry, h, JobId, Link, Notice, plural,
  Progress, runPath, ServiceStatus, State, STATE_DESCRIPTIONS, STATES, tabPath, useApi, useEffect, useRef,
  useSearchParams,
} from "./shared.js";
import { Timeline } from "./timeline.js";

const TIME_RANGES = {
  "1h": "Last hour",
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
  all: "All time",
};
const DEFAULT_RANGE = "7d";
const RARE_STATES = new Set(["submitting", "cancelling", "not_found", "submitted"]); // shown if there are any
const PARAMETERS = ["service", "state", "dag", "within", "page"];

// The filters are kept in the URL, so that they can be shared.
function useFilters() {
  const [params, setParams] = useSearchParams();
  const query = PARAMETERS.flatMap((name) => params.getAll(name).map((value) => [name, value]));
  // A user may select two filters before the URL has changed: the second one is added to the first one.
  const latest = useRef(params), pending = useRef([]);
  useEffect(() => {
    pending.current = pending.current.slice(pending.current.indexOf(params.toString()) + 1 || Infinity);
    if (!pending.current.length) latest.current = params;
  }, [params]);
  const navigate = (next) => {
    latest.current = next;
    pending.current.push(next.toString());
    setParams(next);
  };
  const set = (name, values) => {
    const next = new URLSearchParams(latest.current);
    next.delete(name);
    if (name !== "page") next.delete("page");
    for (const value of values) next.append(name, value);
    navigate(next);
  };
  const any = query.some(([name]) => name !== "page");
  return { query, params, set, any, clear: () => navigate(new URLSearchParams()) };
}

function RemoteJobs() {
  const filters = useFilters();
  const { data, error, loading, stale, refresh } = useApi("jobs", filters.query);
  return h(
    "div",
    { className: "sluice" },
    h(
      "header",
      { className: "sluice-header" },
      h("h2", null, "Remote jobs"),
      h("span", { className: "sluice-muted sluice-freshness", "aria-live": "off" }, data && freshness(data)),
      h(
        "button",
        { type: "button", className: "sluice-button", onClick: refresh, disabled: loading && !data },
        "Refresh",
      ),
    ),
    error && h(Notice, { error: true }, `${error}. ${data ? "The jobs below may be out of date." : ""}`),
    data && h(Body, { data, filters, stale }),
    !data && !error && h(Notice, null, "Loading …"),
  );
}

const freshness = (data) =>
  `Last updated ${formatTime(data.now, CLOCK_TIME)}${data.active ? ", refreshes automatically" : ""}`;

function Body({ data, filters, stale }) {
  const empty = !filters.any && Object.values(data.counts).every((count) => !count);
  return h(
    "div",
    { className: stale ? "sluice-stale" : undefined },
    h(StateCounts, { data, filters }),
    h(Filters, { data, filters }),
    data.timeline.length > 0 && h(Timeline, { bars: data.timeline, services: data.services, now: data.now }),
    data.jobs.length > 0 ? h(Table, { data }) : h(NoJobs, { empty, filters }),
    h(Footer, { data, filters }),
  );
}

function StateCounts({ data, filters }) {
  const selected = filters.params.getAll("state");
  const toggled = (state) =>
    selected.includes(state) ? selected.filter((each) => each !== state) : [...selected, state];
  const shown = Object.entries(data.counts).filter(
    ([state, count]) => count || !RARE_STATES.has(state) || selected.includes(state),
  );
  return h(
    "div",
    { className: "sluice-counts", role: "group", "aria-label": "Jobs by state" },
    shown.map(([state, count]) =>
      h(
        "button",
        {
          key: state,
          type: "button",
          className: `sluice-count sluice-${state}${count ? "" : " sluice-zero"}`,
          "aria-pressed": selected.includes(state),
          title: STATE_DESCRIPTIONS[state],
          onClick: () => filters.set("state", toggled(state)),
        },
        h("b", null, formatNumber(count)),
        h("span", null, h("i", { className: "sluice-dot", "aria-hidden": true }), STATES[state]),
      ),
    ),
  );
}

function Filters({ data, filters }) {
  const value = (name) => filters.params.get(name) ?? "";
  const dags = [...new Set([...data.dags, ...filters.params.getAll("dag")])].sort();
  const services = data.services.map((each) => [each.name, `${each.title} (${formatNumber(each.count)})`]);
  return h(
    "div",
    { className: "sluice-filters" },
    h(Select, {
      label: "Service",
      all: "All services",
      options: Object.fromEntries(services),
      value: value("service"),
      onSelect: (selected) => filters.set("service", selected),
    }),
    h(Select, {
      label: "DAG",
      all: "All DAGs",
      options: Object.fromEntries(dags.map((dag) => [dag, dag])),
      value: value("dag"),
      onSelect: (selected) => filters.set("dag", selected),
    }),
    h(Select, {
      label: "Time",
      options: TIME_RANGES,
      value: value("within") || DEFAULT_RANGE,
      onSelect: ([range]) => filters.set("within", range === DEFAULT_RANGE ? [] : [range]),
    }),
    filters.any && h(ClearFilters, { filters }),
  );
}

const ClearFilters = ({ filters }) =>
  h(
    "button",
    { type: "button", className: "sluice-button sluice-link-button", onClick: filters.clear },
    "Clear filters",
  );

const Select = ({ label, all, options, value, onSelect }) =>
  h(
    "label",
    { className: "sluice-select" },
    h(
      "select",
      { "aria-label": label, value, onChange: (event) => onSelect(event.target.value ? [event.target.value] : []) },
      all && h("option", { value: "" }, all),
      Object.entries({ ...(value && !(value in options) ? { [value]: value } : {}), ...options }).map(([key, text]) =>
        h("option", { key, value: key }, text),
      ),
    ),
  );

const COLUMNS = ["State", "Job", "Progress", "Submitted", "Task", "Try", "Last message"];

const Table = ({ data }) =>
  h(
    "table",
    { className: "sluice-table" },
    h("thead", null, h("tr", null, COLUMNS.map((column) => h("th", { key: column, scope: "col" }, column)))),
    h(
      "tbody",
      null,
      data.jobs.map((job) => h(JobRow, { key: tabPath(job), job, now: data.now })),
    ),
  );

function JobRow({ job, now }) {
  const duration = formatDuration((job.ended_at ?? now) - job.submitted_at);
  return h(
    "tr",
    null,
    h("td", { className: "sluice-c-state" }, h(State, { state: job.state }), h(ServiceStatus, { job })),
    h(
      "td",
      { className: "sluice-c-job" },
      h("span", { className: "sluice-job-name", title: `Connection ${job.conn_id}` }, `${job.title} ${job.noun}`),
      h("small", null, h(JobId, { job })),
    ),
    h("td", { className: "sluice-c-progress" }, h(Progress, { job })),
    job.submitted_at === null ? h(NotSubmitted, { job, now }) : h(
      "td",
      { className: "sluice-c-submitted", title: formatTime(job.submitted_at) },
      `${formatDuration(now - job.submitted_at)} ago`,
      h("small", null, job.ended_at === null ? "in progress" : ENDED.has(job.state) && `took ${duration}`),
    ),
    h(
      "td",
      { className: "sluice-c-task" },
      h(
        "span",
        null,
        h(Link, { to: dagPath(job) }, job.dag_id),
        " › ",
        h(Link, { to: tabPath(job), title: "Remote job of this task" }, taskName(job)),
      ),
      h("small", null, h(Link, { to: runPath(job), title: job.run_id }, job.run_id)),
    ),
    h(
      "td",
      { className: "sluice-c-try" },
      formatTry(job),
      job.resubmissions > 0 && h("small", null, plural(job.resubmissions, "resubmission")),
    ),
    h("td", { className: "sluice-c-message" }, h("span", { title: job.message }, job.message)),
  );
}

const NotSubmitted = ({ job, now }) =>
  h(
    "td",
    { className: "sluice-c-submitted", title: formatTime(job.updated_at) },
    "Not submitted",
    h("small", null, `${formatDuration(now - job.updated_at)} ago`),
  );

const taskName = ({ task_id: name, map_index: index, rendered_map_index: rendered }) =>
  index < 0 ? name : `${name} [${rendered ?? index}]`;

const NO_JOBS =
  "No remote jobs in this time range. A job is listed as soon as a task submits it to Kaleidoscope, Kili, Liquid " +
  "Decisions or Amazon FinSpace, or fails before: run a DAG with such a task, or select a longer time range.";

const NoJobs = ({ empty, filters }) =>
  h(Notice, null, empty ? NO_JOBS : "No jobs match these filters. ", !empty && h(ClearFilters, { filters }));

function Footer({ data, filters }) {
  const pages = Math.max(1, Math.ceil(data.total / data.size));
  const first = (data.page - 1) * data.size + 1, last = first + data.jobs.length - 1;
  const total = plural(data.total, "job");
  const button = (text, page, label) =>
    h(
      "button",
      {
        type: "button",
        className: "sluice-button",
        disabled: page < 1 || page > pages,
        onClick: () => filters.set("page", page > 1 ? [String(page)] : []),
        "aria-label": label,
      },
      text,
    );
  return h(
    "footer",
    { className: "sluice-footer" },
    h(
      "span",
      { className: "sluice-muted" },
      data.jobs.length > 0 && (pages < 2 ? total : `${formatNumber(first)} to ${formatNumber(last)} of ${total}`),
      data.unreadable > 0 &&
        ` · ${plural(data.unreadable, "record")} cannot be read: written by a newer version of the provider, or edited`,
    ),
    pages > 1 &&
      h(
        "nav",
        { "aria-label": "Pages" },
        button("‹", data.page - 1, "Previous page"),
        h("span", null, `${formatNumber(data.page)} / ${formatNumber(pages)}`),
        button("›", data.page + 1, "Next page"),
      ),
  );
}

globalThis["Remote jobs"] = RemoteJobs;
