// The page "Remote jobs": what runs in the services, how far it is, what failed and why.

import {
  amount, CLOCK, dagOf, differs, h, JobId, Link, MEANINGS, moment, Notice, plural, Progress, runOf,
  span, State, STATES, tabOf, useAnswer, useEffect, useRef, useSearchParams,
} from "./parts.js";
import { Timeline } from "./timeline.js";

const TIMES = {
  "1h": "Last hour",
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
  all: "All time",
};
const USUAL = "7d";
const RARE = new Set(["submitting", "cancelling", "not_found", "submitted"]); // shown when there are any
const NAMES = ["service", "state", "dag", "within", "page"];

// The address keeps what was chosen, so that it can be sent to somebody.
function useChoice() {
  const [params, setParams] = useSearchParams();
  const query = NAMES.flatMap((name) => params.getAll(name).map((value) => [name, value]));
  // Two choices may follow each other more quickly than the address: the later one adds to the earlier one.
  const latest = useRef(params), underWay = useRef([]);
  useEffect(() => {
    underWay.current = underWay.current.slice(underWay.current.indexOf(params.toString()) + 1 || Infinity);
    if (!underWay.current.length) latest.current = params;
  }, [params]);
  const go = (next) => {
    latest.current = next;
    underWay.current.push(next.toString());
    setParams(next);
  };
  const choose = (name, values) => {
    const next = new URLSearchParams(latest.current);
    next.delete(name);
    if (name !== "page") next.delete("page");
    for (const value of values) next.append(name, value);
    go(next);
  };
  const chosen = query.some(([name]) => name !== "page");
  return { query, params, choose, chosen, clear: () => go(new URLSearchParams()) };
}

function RemoteJobs() {
  const choice = useChoice();
  const { data, error, busy, stale, again } = useAnswer("jobs", choice.query);
  return h(
    "div",
    { className: "sluice" },
    h(
      "header",
      { className: "sluice-head" },
      h("h2", null, "Remote jobs"),
      h("span", { className: "sluice-muted sluice-when", "aria-live": "off" }, data && freshness(data)),
      h("button", { type: "button", className: "sluice-button", onClick: again, disabled: busy && !data }, "Refresh"),
    ),
    error && h(Notice, { bad: true }, `${error}. ${data ? "What is shown may be out of date." : ""}`),
    data && h(Body, { data, choice, stale }),
    !data && !error && h(Notice, null, "Loading …"),
  );
}

const freshness = (data) => moment(data.now, CLOCK) + (data.active ? ", refreshes while jobs are running" : "");

function Body({ data, choice, stale }) {
  const nothing = !choice.chosen && Object.values(data.counts).every((count) => !count);
  return h(
    "div",
    { className: stale ? "sluice-stale" : undefined },
    h(Counts, { data, choice }),
    h(Filters, { data, choice }),
    data.jobs.length > 0 && h(Timeline, { bars: data.timeline, services: data.services, now: data.now }),
    data.jobs.length > 0 ? h(Table, { data }) : h(Empty, { nothing, choice }),
    h(Foot, { data, choice }),
  );
}

function Counts({ data, choice }) {
  const states = choice.params.getAll("state");
  const other = (state) => (states.includes(state) ? states.filter((each) => each !== state) : [...states, state]);
  const shown = Object.entries(data.counts).filter(
    ([state, count]) => count || !RARE.has(state) || states.includes(state),
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
          className: `sluice-count sluice-${state}${count ? "" : " sluice-none"}`,
          "aria-pressed": states.includes(state),
          title: MEANINGS[state],
          onClick: () => choice.choose("state", other(state)),
        },
        h("b", null, amount(count)),
        h("span", null, h("i", { className: "sluice-dot", "aria-hidden": true }), STATES[state]),
      ),
    ),
  );
}

function Filters({ data, choice }) {
  const one = (name) => choice.params.get(name) ?? "";
  const dags = [...new Set([...data.dags, ...choice.params.getAll("dag")])].sort();
  const titled = (each) => [each.name, `${each.title} (${amount(each.count)})`];
  const services = Object.fromEntries(data.services.map(titled));
  return h(
    "div",
    { className: "sluice-filters" },
    h(Choice, {
      label: "Service",
      all: "All services",
      options: services,
      value: one("service"),
      on: (v) => choice.choose("service", v),
    }),
    h(Choice, {
      label: "DAG",
      all: "All DAGs",
      options: Object.fromEntries(dags.map((dag) => [dag, dag])),
      value: one("dag"),
      on: (v) => choice.choose("dag", v),
    }),
    h(Choice, {
      label: "Time",
      options: TIMES,
      value: one("within") || USUAL,
      on: ([v]) => choice.choose("within", v === USUAL ? [] : [v]),
    }),
    choice.chosen && h(Clear, { choice }),
  );
}

const Clear = ({ choice }) =>
  h("button", { type: "button", className: "sluice-button sluice-plain", onClick: choice.clear }, "Clear filters");

const Choice = ({ label, all, options, value, on }) =>
  h(
    "label",
    { className: "sluice-choice" },
    h(
      "select",
      { "aria-label": label, value, onChange: (event) => on(event.target.value ? [event.target.value] : []) },
      all && h("option", { value: "" }, all),
      Object.entries({ ...(value && !(value in options) ? { [value]: value } : {}), ...options }).map(([key, text]) =>
        h("option", { key, value: key }, text),
      ),
    ),
  );

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const HEADS = ["State", "Job", "Progress", "Submitted", "Task", "Try", "Last message"];

const Table = ({ data }) =>
  h(
    "table",
    { className: "sluice-table" },
    h("thead", null, h("tr", null, HEADS.map((head) => h("th", { key: head, scope: "col" }, head)))),
    h(
      "tbody",
      null,
      data.jobs.map((job) => h(Line, { key: tabOf(job), job, now: data.now })),
    ),
  );

function Line({ job, now }) {
  const lasted = span((job.ended_at ?? now) - job.submitted_at);
  return h(
    "tr",
    null,
    h(
      "td",
      { className: "sluice-c-state" },
      h(State, { state: job.state }),
      differs(job) && h("small", null, job.service_status),
    ),
    h(
      "td",
      { className: "sluice-c-job" },
      h("span", { className: "sluice-what" }, `${job.title} ${job.noun}`),
      h("small", null, h(JobId, { job })),
    ),
    h("td", { className: "sluice-c-progress" }, h(Progress, { job })),
    h(
      "td",
      { className: "sluice-c-submitted", title: moment(job.submitted_at) },
      `${span(now - job.submitted_at)} ago`,
      h("small", null, job.ended_at === null ? "still running" : ENDED.has(job.state) && `took ${lasted}`),
    ),
    h(
      "td",
      { className: "sluice-c-task" },
      h("span", null, h(Link, { to: dagOf(job) }, job.dag_id), " › ", h(Link, { to: tabOf(job) }, taskName(job))),
      h("small", null, h(Link, { to: runOf(job), title: job.run_id }, job.run_id)),
    ),
    h(
      "td",
      { className: "sluice-c-try" },
      `${job.try_number || 1} of ${job.tries}`,
      job.resubmissions > 0 && h("small", null, plural(job.resubmissions, "resubmission")),
    ),
    h("td", { className: "sluice-c-message" }, h("span", { title: job.message }, job.message)),
  );
}

const taskName = ({ task_id: name, map_index: index, rendered_map_index: rendered }) =>
  index < 0 ? name : `${name} [${rendered ?? index}]`;

const NOTHING =
  "No remote jobs in this time. A job is listed here as soon as a task submits one to Kaleidoscope, Kili, " +
  "Liquid Decisions or Amazon FinSpace: run a DAG that does, or choose a longer time.";

const Empty = ({ nothing, choice }) =>
  h(Notice, null, nothing ? NOTHING : "No job matches these filters. ", !nothing && h(Clear, { choice }));

function Foot({ data, choice }) {
  const pages = Math.max(1, Math.ceil(data.total / data.size));
  const first = (data.page - 1) * data.size + 1, last = first + data.jobs.length - 1;
  const all = plural(data.total, "job");
  const turn = (text, page, label) =>
    h(
      "button",
      {
        type: "button",
        className: "sluice-button",
        disabled: page < 1 || page > pages,
        onClick: () => choice.choose("page", page > 1 ? [String(page)] : []),
        "aria-label": label,
      },
      text,
    );
  return h(
    "footer",
    { className: "sluice-foot" },
    h(
      "span",
      { className: "sluice-muted" },
      data.jobs.length > 0 && (pages < 2 ? all : `${amount(first)} to ${amount(last)} of ${all}`),
      data.truncated && ` (the latest ${amount(data.limit)}; choose a shorter time to see the others)`,
      data.unreadable > 0 && ` · ${plural(data.unreadable, "record")} cannot be read`,
    ),
    pages > 1 &&
      h(
        "nav",
        { "aria-label": "Pages" },
        turn("‹", data.page - 1, "Previous page"),
        h("span", null, `${amount(data.page)} / ${amount(pages)}`),
        turn("›", data.page + 1, "Next page"),
      ),
  );
}

globalThis["Remote jobs"] = RemoteJobs;
