// What the page and the tab share. Plain modules without a build: React and its router are Airflow's own, found on
// globalThis. Addresses are relative to this file, so that they hold below any base path.

const React = globalThis.React;
const Router = globalThis.ReactRouterDOM;
export const h = React.createElement;
export const { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } = React;
export const { useNavigate, useSearchParams } = Router;

export const EVERY = 5000; // ms between two requests while any job is active

export const STATES = {
  running: "Running",
  submitting: "Submitting",
  cancelling: "Cancelling",
  not_found: "Not found",
  outcome_unknown: "Outcome unknown",
  failed: "Failed",
  orphaned: "Orphaned",
  cancelled: "Cancelled",
  submitted: "Submitted",
  succeeded: "Succeeded",
};

export const MEANINGS = {
  running: "The service is working on it",
  submitting: "The task is submitting it to the service",
  cancelling: "The service was asked to cancel it, and has not confirmed yet",
  not_found: "The service does not know the job ID: not yet, or no longer",
  outcome_unknown: "A request got no answer: the service may or may not have started the job",
  failed: "The service reports that it failed, or it was not accepted",
  orphaned: "The task is over, and the job was last seen running",
  cancelled: "It was cancelled",
  submitted: "The service accepted it, and the task does not wait for completion",
  succeeded: "The service reports that it is done",
};

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("./sluice.css", import.meta.url).href;
document.head.append(style);

// --- requests to our API

const api = (path, query) => {
  const url = new URL(`../api/${path}`, import.meta.url);
  for (const [name, value] of query) url.searchParams.append(name, value);
  return url.href;
};

async function request(url, signal) {
  const reply = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" }, signal });
  if (reply.status === 401) {
    const login = new URL("../../api/v2/auth/login", import.meta.url);
    login.searchParams.set("next", globalThis.location.href);
    globalThis.location.replace(login.href);
    throw new Error("You are no longer logged in");
  }
  const data = await reply.json().catch(() => null);
  if (reply.ok && data) return data;
  if (reply.status === 403) throw new Error("You do not have permission to see these tasks");
  const detail = typeof data?.detail === "string" ? data.detail : data?.detail?.[0]?.msg;
  throw new Error(detail ?? `Airflow answered ${reply.status}`);
}

// The latest answer. It is requested again while any job is active and the page is visible.
export function useAnswer(path, query) {
  const url = api(path, query);
  const [answer, setAnswer] = useState({ url: "", data: null, error: null });
  const [busy, setBusy] = useState(true);
  const again = useRef(() => {});
  useEffect(() => {
    let timer, active = true, running = false;
    const stopped = new AbortController();
    const load = async () => {
      clearTimeout(timer);
      if (running || stopped.signal.aborted) return;
      running = true;
      setBusy(true);
      try {
        const data = await request(url, stopped.signal);
        active = data.active;
        setAnswer({ url, data, error: null });
      } catch (error) {
        if (stopped.signal.aborted) return;
        setAnswer((last) => ({ ...last, error: error.message }));
      }
      running = false;
      setBusy(false);
      if (active && !document.hidden) timer = setTimeout(load, EVERY);
    };
    const onVisibility = () => (document.hidden ? clearTimeout(timer) : load());
    again.current = load;
    document.addEventListener("visibilitychange", onVisibility);
    load();
    return () => {
      stopped.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisibility);
    };
  }, [url]);
  return { ...answer, busy, stale: answer.url !== url, again: useCallback(() => again.current(), []) };
}

// --- words

const numbers = new Intl.NumberFormat("en");
export const amount = (value) => numbers.format(value);

export const plural = (count, noun) => `${amount(count)} ${noun}${count === 1 ? "" : "s"}`;

// recordsProcessed, records_processed -> records processed
export const words = (name) => name.replaceAll(/([a-z])([A-Z])/gu, "$1 $2").replaceAll("_", " ").toLowerCase();

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  const hours = Math.floor(s / 3600), minutes = Math.floor((s % 3600) / 60);
  if (hours < 48) return minutes && hours < 10 ? `${hours} h ${minutes} min` : `${hours} h`;
  return plural(Math.floor(hours / 24), "day");
}

const zone = () => {
  const chosen = (globalThis.localStorage?.getItem("timezone") ?? "").replaceAll('"', "");
  try {
    return new Intl.DateTimeFormat("sv", { timeZone: chosen || undefined }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
};

export const DAY = { year: "numeric", month: "2-digit", day: "2-digit" };
export const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const FULL = { ...DAY, ...CLOCK };
export const moment = (seconds, shape = FULL) =>
  new Intl.DateTimeFormat("sv", { ...shape, hourCycle: "h23", timeZone: zone() }).format(new Date(seconds * 1000));

// --- addresses within Airflow

const enc = encodeURIComponent;
export const dagOf = (job) => `/dags/${enc(job.dag_id)}`;
export const runOf = (job) => `${dagOf(job)}/runs/${enc(job.run_id)}`;
export const taskOf = (job) =>
  `${runOf(job)}/tasks/${enc(job.task_id)}${job.map_index >= 0 ? `/mapped/${job.map_index}` : ""}`;
export const tabOf = (job) => `${taskOf(job)}/plugin/sluice-job`;

export const Link = ({ to, ...props }) => h(Router.Link, { className: "sluice-link", to, ...props });

// --- pieces

export const State = ({ state, large = false }) =>
  h(
    "span",
    { className: `sluice-state sluice-${state}${large ? " sluice-large" : ""}`, title: MEANINGS[state] },
    h("span", { className: "sluice-dot", "aria-hidden": true }),
    STATES[state] ?? state,
  );

// Whether the service's own word for the state says more than ours.
export const differs = ({ service_status: status, state }) =>
  status && status.toLowerCase() !== STATES[state].toLowerCase();

export function JobId({ job, most = 1 }) {
  const rest = job.id_count - Math.min(most, job.ids.length);
  const shown = job.ids.slice(0, most).map((id) => h("code", { key: id, title: id }, id));
  const more = rest > 0 ? h("span", { className: "sluice-muted" }, ` + ${amount(rest)} more`) : null;
  if (!job.url) return h("span", { className: "sluice-id" }, shown, more);
  const props = { className: "sluice-link sluice-id", href: job.url, rel: "noopener noreferrer", target: "_blank" };
  const label = `Open in ${job.title}, in a new tab`;
  return h(
    "a",
    { ...props, title: label, "aria-label": `${job.ids[0] ?? job.noun}: ${label}` },
    shown.length ? shown : `Open in ${job.title}`,
    more,
    h(Away),
  );
}

const Away = () =>
  h(
    "svg",
    { className: "sluice-away", viewBox: "0 0 12 12", "aria-hidden": true },
    h("path", { d: "M4.5 2H2v8h8V7.5M7 2h3v3M10 2 5.5 6.5", fill: "none", stroke: "currentColor", strokeWidth: 1.3 }),
  );

const shownCounts = (job) =>
  Object.entries(job.counts)
    .filter(([name, value]) => value > 0 && !name.toLowerCase().endsWith("seconds")) // how long is no progress
    .map(([name, value]) => `${amount(value)} ${words(name)}`);

// A bar where the service reports a total, a count where it does not.
export function Progress({ job, most = 2 }) {
  const counts = shownCounts(job);
  const known = job.total !== null && job.done !== null;
  const share = known ? Math.min(1, job.done / job.total) : null;
  const open = job.state === "running" && !known;
  if (!known && !counts.length && job.done === null && !open) return h("span", { className: "sluice-muted" }, "–");
  const percent = known ? `${Math.floor(100 * share)} %` : null;
  const figures = counts.length || job.done === null ? counts.slice(0, most) : [amount(job.done)];
  const text = known ? `${amount(job.done)} of ${amount(job.total)}` : figures.join(" · ");
  return h(
    "div",
    { className: `sluice-progress sluice-${job.state}` },
    h(
      "div",
      { className: "sluice-figures" },
      h("span", null, text || "no counts yet"),
      percent && h("span", null, percent),
    ),
    known || open
      ? h(
          "div",
          {
            className: `sluice-bar${open ? " sluice-open" : ""}`,
            role: "progressbar",
            "aria-label": "Progress",
            ...(known ? { "aria-valuenow": Math.floor(100 * share), "aria-valuemin": 0, "aria-valuemax": 100 } : {}),
          },
          h("div", { style: known ? { width: `${100 * share}%` } : undefined }),
        )
      : null,
  );
}

export const Notice = ({ children, bad = false }) =>
  h("div", { className: `sluice-notice${bad ? " sluice-bad" : ""}`, role: bad ? "alert" : undefined }, children);
