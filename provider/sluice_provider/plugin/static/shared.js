// What the page and the tab share. Plain modules without a build: React and its router are Airflow's own, found on
// globalThis. URLs are relative to this file, so that they work below any base path.

const React = globalThis.React;
const Router = globalThis.ReactRouterDOM;
export const h = React.createElement;
export const { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } = React;
export const { useNavigate, useSearchParams } = Router;

const REFRESH_MS = 5000; // between two requests while any job is active

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

export const STATE_DESCRIPTIONS = {
  running: "The service is processing the job, and the task polls it",
  submitting: "The task is submitting the job to the service",
  cancelling: "The service was asked to cancel the job and has not confirmed it yet",
  not_found: "The service does not know the job ID: the job is not visible yet, or was deleted. The task keeps polling",
  outcome_unknown:
    "A request got no response, so the service may or may not have started the job. " +
    "Check in the service whether the job exists; the message says what to do then",
  failed: "The service reports that the job failed, or it rejected the request",
  orphaned:
    "The task is over, but the job was running when it was last polled, and it is no longer polled. " +
    "Check its status in the service before you clear the task",
  cancelled: "The job was cancelled",
  submitted: "The service accepted the job. The task does not wait for completion",
  succeeded: "The service reports that the job succeeded",
};

export const ENDED = new Set(["succeeded", "failed", "cancelled"]);

const stylesheet = document.createElement("link");
stylesheet.rel = "stylesheet";
stylesheet.href = new URL("./sluice.css", import.meta.url).href;
document.head.append(stylesheet);

// --- requests to our API

const apiUrl = (path, query) => {
  const url = new URL(`../api/${path}`, import.meta.url);
  for (const [name, value] of query) url.searchParams.append(name, value);
  return url.href;
};

async function fetchJson(url, signal) {
  const response = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" }, signal });
  if (response.status === 401) {
    const login = new URL("../../api/v2/auth/login", import.meta.url);
    login.searchParams.set("next", globalThis.location.href);
    globalThis.location.replace(login.href);
    throw new Error("Your session has expired");
  }
  const data = await response.json().catch(() => null);
  if (response.ok && data) return data;
  if (response.status === 403) throw new Error("You do not have permission to read these task instances");
  const detail = typeof data?.detail === "string" ? data.detail : data?.detail?.[0]?.msg;
  throw new Error(detail ?? `The Airflow API server responded with status ${response.status}`);
}

// The latest response. The request is repeated while any job is active and the page is visible.
export function useApi(path, query) {
  const url = apiUrl(path, query);
  const [result, setResult] = useState({ url: "", data: null, error: null });
  const [loading, setLoading] = useState(true);
  const refresh = useRef(() => {});
  useEffect(() => {
    let timer, active = true, running = false;
    const aborter = new AbortController();
    const load = async () => {
      clearTimeout(timer);
      if (running || aborter.signal.aborted) return;
      running = true;
      setLoading(true);
      try {
        const data = await fetchJson(url, aborter.signal);
        active = data.active;
        setResult({ url, data, error: null });
      } catch (error) {
        if (aborter.signal.aborted) return;
        setResult((last) => ({ ...last, error: error.message }));
      }
      running = false;
      setLoading(false);
      if (active && !document.hidden) timer = setTimeout(load, REFRESH_MS);
    };
    const onVisibilityChange = () => (document.hidden ? clearTimeout(timer) : load());
    refresh.current = load;
    document.addEventListener("visibilitychange", onVisibilityChange);
    load();
    return () => {
      aborter.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisibilityChange);
    };
  }, [url]);
  return { ...result, loading, stale: result.url !== url, refresh: useCallback(() => refresh.current(), []) };
}

// --- formatting

const numberFormat = new Intl.NumberFormat("en");
export const formatNumber = (value) => numberFormat.format(value);

export const plural = (count, noun) => `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;

// recordsProcessed, records_processed -> records processed
export const humanize = (name) => name.replaceAll(/([a-z])([A-Z])/gu, "$1 $2").replaceAll("_", " ").toLowerCase();

export function formatDuration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 && s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  const hours = Math.floor(s / 3600), minutes = Math.floor((s % 3600) / 60);
  if (hours < 48) return minutes && hours < 10 ? `${hours} h ${minutes} min` : `${hours} h`;
  return plural(Math.floor(hours / 24), "day");
}

// The time zone that the user selected in Airflow.
const timeZone = () => {
  const selected = (globalThis.localStorage?.getItem("timezone") ?? "").replaceAll('"', "");
  try {
    return new Intl.DateTimeFormat("sv", { timeZone: selected || undefined }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
};

export const DATE = { year: "numeric", month: "2-digit", day: "2-digit" };
export const CLOCK_TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DATE_AND_TIME = { ...DATE, ...CLOCK_TIME };
export const formatTime = (seconds, options = DATE_AND_TIME) =>
  new Intl.DateTimeFormat("sv", { ...options, hourCycle: "h23", timeZone: timeZone() }).format(
    new Date(seconds * 1000),
  );

export const formatTry = (job) => `${job.try_number || 1} of ${job.total_tries}`;

// --- paths in Airflow's UI

const encode = encodeURIComponent;
export const dagPath = (job) => `/dags/${encode(job.dag_id)}`;
export const runPath = (job) => `${dagPath(job)}/runs/${encode(job.run_id)}`;
export const taskPath = (job) =>
  `${runPath(job)}/tasks/${encode(job.task_id)}${job.map_index >= 0 ? `/mapped/${job.map_index}` : ""}`;
export const tabPath = (job) => `${taskPath(job)}/plugin/sluice-job`;

export const Link = ({ to, ...props }) => h(Router.Link, { className: "sluice-link", to, ...props });

// --- components

export const State = ({ state, large = false }) =>
  h(
    "span",
    { className: `sluice-state sluice-${state}${large ? " sluice-large" : ""}`, title: STATE_DESCRIPTIONS[state] },
    h("span", { className: "sluice-dot", "aria-hidden": true }),
    STATES[state] ?? state,
  );

// The service's own status, where it says more than the state.
export function ServiceStatus({ job, as = "small" }) {
  const { service_status: status, state, title } = job;
  if (!status || status.toLowerCase() === STATES[state].toLowerCase()) return null;
  return h(as, { className: "sluice-muted", title: `Status in ${title}` }, status);
}

export function JobId({ job, max = 1 }) {
  const rest = job.id_count - Math.min(max, job.ids.length);
  const ids = job.ids.slice(0, max).map((id) => h("code", { key: id, title: id }, id));
  const more = rest > 0 ? h("span", { className: "sluice-muted" }, ` + ${formatNumber(rest)} more`) : null;
  if (!job.url) return h("span", { className: "sluice-id" }, ids, more);
  const props = { className: "sluice-link sluice-id", href: job.url, rel: "noopener noreferrer", target: "_blank" };
  const label = `Open in ${job.title} (new tab)`;
  return h(
    "a",
    { ...props, title: label, "aria-label": `${job.ids[0] ?? job.noun}: ${label}` },
    ids.length ? ids : `Open in ${job.title}`,
    more,
    h(ExternalIcon),
  );
}

const ExternalIcon = () =>
  h(
    "svg",
    { className: "sluice-external", viewBox: "0 0 12 12", "aria-hidden": true },
    h("path", { d: "M4.5 2H2v8h8V7.5M7 2h3v3M10 2 5.5 6.5", fill: "none", stroke: "currentColor", strokeWidth: 1.3 }),
  );

const countTexts = (job) =>
  Object.entries(job.counts)
    .filter(([name, value]) => value > 0 && !name.toLowerCase().endsWith("seconds")) // a duration is no progress
    .map(([name, value]) => `${formatNumber(value)} ${humanize(name)}`);

// A bar if the service reports a total, else its counts.
export function Progress({ job, max = 2 }) {
  const counts = countTexts(job);
  const known = job.total !== null && job.done !== null;
  const share = known ? Math.min(1, job.done / job.total) : null;
  const indeterminate = job.state === "running" && !known;
  if (!known && !counts.length && job.done === null && !indeterminate) {
    return h("span", { className: "sluice-muted" }, "–");
  }
  const percent = known ? `${Math.floor(100 * share)} %` : null;
  const parts = counts.length || job.done === null ? counts.slice(0, max) : [`${formatNumber(job.done)} done`];
  const text = known ? `${formatNumber(job.done)} of ${formatNumber(job.total)}` : parts.join(" · ");
  return h(
    "div",
    { className: `sluice-progress sluice-${job.state}` },
    h(
      "div",
      { className: "sluice-progress-text" },
      h("span", null, text || "No counts yet"),
      percent && h("span", null, percent),
    ),
    known || indeterminate
      ? h(
          "div",
          {
            className: `sluice-bar${indeterminate ? " sluice-indeterminate" : ""}`,
            role: "progressbar",
            "aria-label": "Progress",
            ...(known ? { "aria-valuenow": Math.floor(100 * share), "aria-valuemin": 0, "aria-valuemax": 100 } : {}),
          },
          h("div", { style: known ? { width: `${100 * share}%` } : undefined }),
        )
      : null,
  );
}

export const Notice = ({ children, error = false }) =>
  h("div", { className: `sluice-notice${error ? " sluice-error" : ""}`, role: error ? "alert" : undefined }, children);
