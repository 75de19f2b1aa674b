// The latest jobs as bars in time, a lane for each service; jobs that overlap stand below each other.

import { h, moment, span, STATES, tabOf, useLayoutEffect, useNavigate, useRef, useState } from "./parts.js";

const BAR = 7, GAP = 3, PAD = 6, DEEP = 5, AXIS = 20, LEFT = 128;
const MINUTE = 60, HOUR = 3600, DAY = 86400;
const STEPS = [
  15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY,
];

function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}

// Lanes with their bars, each bar with the row below which it does not cover another one.
function lanesOf(bars, services, x) {
  let top = 0;
  return services.flatMap(({ name, title }) => {
    const mine = bars.filter((bar) => bar.service === name).sort((one, other) => one.submitted_at - other.submitted_at);
    if (!mine.length) return [];
    const ends = [];
    const placed = mine.map((bar) => {
      const from = x(bar.submitted_at), to = Math.max(from + 3, x(bar.ended_at));
      let row = ends.findIndex((end) => end <= from);
      if (row < 0) row = ends.length < DEEP ? ends.length : ends.indexOf(Math.min(...ends));
      ends[row] = to + 2;
      return { bar, from, to, row };
    });
    const height = 2 * PAD + ends.length * (BAR + GAP) - GAP;
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
    width > 0 && h(Drawing, { bars, services, now, width }),
  );
}

function Drawing({ bars, services, now, width }) {
  const navigate = useNavigate();
  const whole = bars.map((bar) => ({ ...bar, ended_at: bar.ended_at ?? now, open: bar.ended_at === null }));
  const last = Math.max(...whole.map((bar) => bar.ended_at));
  const first = Math.min(last - MINUTE, ...whole.map((bar) => bar.submitted_at));
  const margin = (last - first) * 0.01, from = first - margin, to = last + margin;
  const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT - 4);
  const lanes = lanesOf(whole, services, x);
  const height = lanes.reduce((sum, lane) => sum + lane.height, 0);
  return h(
    "svg",
    { width, height: height + AXIS, role: "img", "aria-label": `The latest ${bars.length} jobs, by service and time` },
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
        lane.placed.map((each) => h(Bar, { key: tabOf(each.bar), ...each, lane, navigate })),
      ),
    ),
    h("line", { className: "sluice-rule", x1: 0, x2: width, y1: height, y2: height }),
  );
}

function Bar({ bar, from, to, row, lane, navigate }) {
  const free = (lane.height - (lane.rows * (BAR + GAP) - GAP)) / 2;
  const lasted = `${bar.open ? "for" : "took"} ${span(bar.ended_at - bar.submitted_at)}`;
  const what = `${lane.title}: ${STATES[bar.state]}, ${lasted}`;
  const lines = [what, `${bar.dag_id} › ${bar.task_id}`, moment(bar.submitted_at)];
  return h(
    "rect",
    {
      className: `sluice-mark sluice-${bar.state}`,
      x: from,
      y: lane.top + free + row * (BAR + GAP),
      width: to - from,
      height: BAR,
      rx: 2,
      onClick: () => navigate(tabOf(bar)),
    },
    h("title", null, lines.join("\n")),
  );
}

function ticks(from, to, width) {
  const most = Math.max(2, Math.floor((width - LEFT) / 100));
  const longest = STEPS.at(-1) * Math.ceil((to - from) / STEPS.at(-1) / most);
  const step = STEPS.find((each) => (to - from) / each <= most) ?? longest;
  const days = { month: "2-digit", day: "2-digit" }, hours = { hour: "2-digit", minute: "2-digit" };
  const seconds = { ...hours, second: "2-digit" };
  const shape = step < MINUTE ? seconds : step >= DAY ? days : to - from > DAY ? { ...days, ...hours } : hours;
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push({ at, label: moment(at, shape) });
  return found;
}
