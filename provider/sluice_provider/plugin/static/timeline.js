// The latest jobs as bars over time, with a lane for each service; overlapping jobs are stacked.

import {
  formatDuration, formatTime, h, STATES, tabPath, useLayoutEffect, useNavigate, useRef, useState,
} from "./shared.js";

const BAR_HEIGHT = 7, GAP = 3, PADDING = 6, MAX_ROWS = 5, AXIS_HEIGHT = 20, LABEL_WIDTH = 128; // pixels
const MINUTE = 60, HOUR = 3600, DAY = 86400; // seconds
const TICK_STEPS = [
  15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY,
];

function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return [box, width];
}

// Lanes with their bars, each bar in the first row in which it overlaps no other one.
function makeLanes(bars, services, x) {
  let top = 0;
  return services.flatMap(({ name, title }) => {
    const own = bars.filter((bar) => bar.service === name).sort((one, other) => one.submitted_at - other.submitted_at);
    if (!own.length) return [];
    const ends = [];
    const placed = own.map((bar) => {
      const from = x(bar.submitted_at), to = Math.max(from + 3, x(bar.ended_at));
      let row = ends.findIndex((end) => end <= from);
      if (row < 0) row = ends.length < MAX_ROWS ? ends.length : ends.indexOf(Math.min(...ends));
      ends[row] = to + 2;
      return { bar, from, to, row };
    });
    const height = 2 * PADDING + ends.length * (BAR_HEIGHT + GAP) - GAP;
    const lane = { name, title, top, height: Math.max(height, 24), rows: ends.length, placed };
    top += lane.height;
    return [lane];
  });
}

export function Timeline({ bars, services, now }) {
  const [box, width] = useWidth();
  return h(
    "figure",
    { className: "sluice-timeline", ref: box, "aria-label": "The latest jobs over time" },
    width > 0 && h(Chart, { bars, services, now, width }),
  );
}

function Chart({ bars, services, now, width }) {
  const navigate = useNavigate();
  const closed = bars.map((bar) => ({ ...bar, ended_at: bar.ended_at ?? now, running: bar.ended_at === null }));
  const last = Math.max(...closed.map((bar) => bar.ended_at));
  const first = Math.min(last - MINUTE, ...closed.map((bar) => bar.submitted_at));
  const margin = (last - first) * 0.01, from = first - margin, to = last + margin;
  const x = (time) => LABEL_WIDTH + ((time - from) / (to - from)) * (width - LABEL_WIDTH - 4);
  const lanes = makeLanes(closed, services, x);
  const height = lanes.reduce((sum, lane) => sum + lane.height, 0);
  return h(
    "svg",
    {
      width,
      height: height + AXIS_HEIGHT,
      role: "img",
      "aria-label": `The latest ${bars.length} jobs, by service and time`,
    },
    ticks(from, to, width).map(({ at, label }) =>
      h(
        "g",
        { key: at },
        h("line", { className: "sluice-grid", x1: x(at), x2: x(at), y1: 0, y2: height }),
        h("text", { className: "sluice-tick", x: x(at), y: height + 14 }, label),
      ),
    ),
    lanes.map((lane, index) =>
      h(
        "g",
        { key: lane.name },
        index > 0 && h("line", { className: "sluice-rule", x1: 0, x2: width, y1: lane.top, y2: lane.top }),
        h("text", { className: "sluice-lane", x: 0, y: lane.top + lane.height / 2 + 4 }, lane.title),
        lane.placed.map((each) => h(Bar, { key: tabPath(each.bar), ...each, lane, navigate })),
      ),
    ),
    h("line", { className: "sluice-rule", x1: 0, x2: width, y1: height, y2: height }),
  );
}

function Bar({ bar, from, to, row, lane, navigate }) {
  const margin = (lane.height - (lane.rows * (BAR_HEIGHT + GAP) - GAP)) / 2;
  const duration = `${bar.running ? "for" : "took"} ${formatDuration(bar.ended_at - bar.submitted_at)}`;
  const lines = [
    `${lane.title}: ${STATES[bar.state]}, ${duration}`,
    `${bar.dag_id} › ${bar.task_id}`,
    `Submitted ${formatTime(bar.submitted_at)}`,
  ];
  return h(
    "rect",
    {
      className: `sluice-timeline-bar sluice-${bar.state}`,
      x: from,
      y: lane.top + margin + row * (BAR_HEIGHT + GAP),
      width: to - from,
      height: BAR_HEIGHT,
      rx: 2,
      onClick: () => navigate(tabPath(bar)),
    },
    h("title", null, lines.join("\n")),
  );
}

function ticks(from, to, width) {
  const maxTicks = Math.max(2, Math.floor((width - LABEL_WIDTH) / 100));
  const longest = TICK_STEPS.at(-1) * Math.ceil((to - from) / TICK_STEPS.at(-1) / maxTicks);
  const step = TICK_STEPS.find((each) => (to - from) / each <= maxTicks) ?? longest;
  const days = { month: "2-digit", day: "2-digit" }, hours = { hour: "2-digit", minute: "2-digit" };
  const seconds = { ...hours, second: "2-digit" };
  const format = step < MINUTE ? seconds : step >= DAY ? days : to - from > DAY ? { ...days, ...hours } : hours;
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push({ at, label: formatTime(at, format) });
  return found;
}
