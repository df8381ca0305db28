// An interactive chart of rates, drawn by uPlot: ranges without a request, a crosshair by pointer and keyboard, texts
// for screen readers. Its style sheet is chart.css.
import uPlot from "./uplot/uPlot.js";

const DAY = 86400;
const DASH = [6, 4];
const at = (text) => Date.parse(`${text}T00:00Z`) / 1000;

// Numbers and dates in the language of the page. The service sends the formats, since browsers lack some languages.
class Formats {
  constructor(text) {
    this.text = text;
  }

  number(value, decimals) {
    const { decimal, group, sizes } = this.text.number;
    let [whole, fraction] = Math.abs(value).toFixed(decimals).split(".");
    const parts = [];
    for (let size = sizes[0]; whole.length > size; size = sizes[1]) {
      parts.unshift(whole.slice(-size));
      whole = whole.slice(0, -size);
    }
    return [whole, ...parts].join(group) + (fraction ? decimal + fraction : "");
  }

  percent(value) {
    if (value == null) return "—";
    const { plus, minus, percent } = this.text.number;
    return (value > 0 ? plus : value < 0 ? minus : "") + percent.replace("{}", this.number(value, 2));
  }

  // `form` is "day" (2 Apr 2026), "short" (2 Apr), "month" (Apr 2026) or "year".
  date(seconds, form = "day") {
    const date = new Date(seconds * 1000);
    const day = date.getUTCDate();
    const pattern = form === "year" ? this.text.year : this.text[form][date.getUTCMonth()];
    return pattern.replace("{y}", date.getUTCFullYear()).replace("{dd}", `0${day}`.slice(-2)).replace("{d}", day);
  }
}

// A document of `/v1/chart/{currency}` with times in seconds.
class Line {
  constructor(data) {
    let time = at(data.first);
    this.data = data;
    this.times = data.days.map((days) => (time += days * DAY));
    this.starts = new Set(data.starts);
    this.units = new Set(data.units);
    this.revised = new Set(data.revised);
    this.quarantined = data.quarantined.map(at);
  }

  // Indices of the publications in a range, the last one excluded.
  between(from) {
    const begin = this.times.findIndex((time) => time >= from);
    return [begin < 0 ? this.times.length : begin, this.times.length];
  }

  isLogarithmic(begin, end) {
    const rates = this.data.rates.slice(begin, end);
    return this.data.units.some((index) => index > begin && index < end) || Math.max(...rates) > 10 * Math.min(...rates);
  }
}

function make(name, part, text, ...children) {
  const node = document.createElement(name);
  if (part) node.className = node.part = part;
  node.append(text ?? "", ...children);
  return node;
}

// Draws a chart in `node`, an element with the class "chart". `documents` are one document of `/v1/chart/{currency}`,
// or two, which are drawn as indices (100 on the first common day of the range).
// Options: `range` ("1m", "3m", "1y", "5y", "all"), `height` in pixels, `table` (false: without the table of rates),
// `changed(range)`, called when the visitor selects a range; `receipt(day)`, which returns the URL of the receipt of a day.
// Returns an object with `set(range)`, `update(documents)`, `move(index)`, `say(note)`, `destroy()`, and `plot`, uPlot's instance.
export function mount(node, documents, options = {}) {
  return new Chart(node, documents, options);
}

class Chart {
  constructor(node, documents, { range = "1y", height = node.clientWidth < 480 ? 240 : 320, table = true, changed = () => {}, receipt = () => "" }) {
    Object.assign(this, { node, range, height, changed, receipt });
    this.readout = make("p", "chart-readout");
    this.ranges = make("div", "chart-ranges");
    this.ranges.role = "group";
    this.area = make("div", "chart-plot");
    this.area.role = "slider";
    this.area.tabIndex = 0;
    this.area.addEventListener("keydown", this);
    this.probes = Object.fromEntries(["ink", "soft", "line", "warn"].map((name) => [name, make("i", name)]));
    for (const probe of Object.values(this.probes)) probe.ariaHidden = "true";
    this.area.append(...Object.values(this.probes));
    this.area.addEventListener("transitionend", () => this.plot?.redraw(false, true));
    this.summary = make("p", "chart-summary");
    this.summary.ariaLive = "polite";
    this.details = table && make("details", "chart-table");
    this.details?.addEventListener?.("toggle", () => this.fill());
    node.replaceChildren(make("div", "chart-head", "", this.readout, this.ranges), this.area, this.summary, ...(table ? [this.details] : []));
    this.observer = new ResizeObserver(() => {
      const width = this.area.clientWidth;
      if (width && this.plot && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
      else if (width && !this.plot) this.draw();
    });
    this.observer.observe(this.area);
    this.update(documents);
  }

  update(documents) {
    this.lines = documents.map((data) => new Line(data));
    this.text = documents[0].text;
    this.formats = new Formats(this.text);
    this.node.lang = this.text.lang;
    this.node.dir = this.text.dir;
    this.ranges.ariaLabel = this.text.range;
    this.area.ariaLabel = documents.map(({ name, base }) => `${name}, ${base}`).join("; ");
    this.ranges.replaceChildren(
      ...this.text.ranges.map(({ id, label, name }) => {
        const button = make("button", "", label);
        button.type = "button";
        button.value = id;
        button.ariaLabel = name;
        button.addEventListener("click", () => this.select(id));
        return button;
      }),
    );
    if (this.details) {
      this.details.replaceChildren(make("summary", "", this.text.table));
    }
    this.set(this.range);
  }

  select(range) {
    this.set(range);
    this.changed(range);
  }

  set(range) {
    const ranges = this.text.ranges;
    const selected = ranges.find(({ id }) => id === range) ?? ranges.at(-1);
    this.range = selected.id;
    for (const button of this.ranges.children) button.ariaPressed = String(button.value === this.range);
    this.indexed = this.lines.length > 1;
    // Indices begin with the last redenomination of any line.
    const units = this.lines.flatMap((line) => [...line.units].map((index) => line.times[index]));
    const from = Math.max(at(selected.from), ...(this.indexed ? units : []));
    const spans = this.lines.map((line) => line.between(from));
    this.logarithmic = !this.indexed && this.lines[0].isLogarithmic(...spans[0]);
    this.align(spans);
    const summaries = this.lines.map(({ data }) => data.text.ranges.find(({ id }) => id === this.range)?.summary);
    const notes = [this.indexed && this.text.indexed, this.logarithmic && this.text.logarithmic];
    const sources = new Set(this.lines.map(({ data }) => `${data.source}.`));
    this.summary.textContent = [...summaries, ...notes, ...sources].filter(Boolean).join(" ");
    this.fill();
    this.draw();
    this.move(this.last);
  }

  // Makes the columns that uPlot draws: times, then the values of each part of a line. Null ends a line (a gap),
  // undefined continues it. A new unit begins a part of its own: uPlot joins values that are within a pixel.
  align(spans) {
    const common = Math.max(...spans.map(([begin], number) => this.lines[number].times[begin] ?? 0));
    const parts = [];
    this.lines.forEach((line, number) => {
      const [begin, end] = spans[number];
      const base = line.times.findIndex((time) => time >= common);
      const factor = this.indexed ? 100 / line.data.rates[base < 0 ? end - 1 : base] : 1;
      for (let index = begin; index < end; index++) {
        const time = line.times[index];
        if (index === begin || line.units.has(index)) parts.push({ number, values: new Map() });
        else if (line.starts.has(index)) parts.at(-1).values.set((line.times[index - 1] + time) / 2, null);
        parts.at(-1).values.set(time, line.data.rates[index] * factor);
      }
    });
    const times = [...new Set(parts.flatMap(({ values }) => [...values.keys()]))].sort((one, other) => one - other);
    this.parts = parts.map(({ number }) => number);
    this.columns = [times, ...parts.map(({ values }) => times.map((time) => values.get(time)))];
    this.indices = this.lines.map((line) => new Map(line.times.map((time, index) => [time, index])));
    // The positions at which some line has a publication: where the crosshair stops.
    this.stops = times.map((time, index) => index).filter((index) => this.columns.slice(1).some((values) => values[index] != null));
    this.last = this.stops.length - 1;
  }

  // The value of a line at a position: of the last publication up to it.
  value(number, position) {
    for (; position >= 0; position--) {
      for (const [part, owner] of this.parts.entries()) {
        if (owner === number && this.columns[part + 1][position] != null) return [this.columns[part + 1][position], this.columns[0][position]];
      }
    }
    return [];
  }

  draw() {
    const width = this.area.clientWidth;
    this.plot?.destroy();
    this.plot = null;
    if (!width) return;
    const ink = (name) => () => getComputedStyle(this.probes[name]).color;
    const font = `12px ${getComputedStyle(this.node).fontFamily}`;
    const { formats, logarithmic } = this;
    const axis = { stroke: ink("soft"), font, grid: { stroke: ink("line"), width: 1 }, ticks: { show: false } };
    // Half of the widest date: the first and the last one are centred at the edges of the lines.
    let half = 0;
    this.plot = new uPlot(
      {
        width,
        height: this.height,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        legend: { show: false },
        padding: [12, () => half, 0, 0],
        cursor: {
          y: false,
          drag: { x: false, y: false },
          points: { size: 8 },
          dataIdx: (plot, series, index) => this.nearest(series, index),
        },
        scales: {
          x: { time: true, range: (plot, min, max) => [min === max ? min - DAY : min, Math.max(max + (min === max && DAY), ...this.lines.flatMap((line) => line.quarantined))] },
          y: { distr: logarithmic ? 3 : 1, range: (plot, min, max) => bounds(min, max, logarithmic) },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 28,
            space: 80,
            incrs: [...[1, 2, 3, 7, 15], ...[1, 2, 3, 4, 6].map((months) => months * 30), ...[1, 2, 5, 10, 25].map((years) => years * 365)].map((days) => days * DAY),
            values: ({ ctx }, times, index, space, step) => {
              const dates = times.map((time) => formats.date(time, step >= 365 * DAY ? "year" : step >= 28 * DAY ? "month" : "short"));
              ctx.font = font;
              half = Math.ceil(Math.max(0, ...dates.map((date) => ctx.measureText(date).width)) / 2) + 4;
              return dates;
            },
          },
          {
            ...axis,
            size: (plot, labels) => Math.max(half, Math.ceil(7.5 * Math.max(3, ...(labels ?? []).map((label) => label.length))) + 12),
            ...(logarithmic && { splits: (plot, index, min, max) => powers(min, max), filter: (plot, values) => values }),
            values: (plot, values, index, space, step) =>
              values.map((value) => formats.number(value, decimals(logarithmic ? value : step))),
          },
        ],
        series: [
          {},
          ...this.parts.map((number) => ({
            stroke: ink(number ? "soft" : "ink"),
            width: 1.5,
            dash: number ? DASH : undefined,
            points: { show: false },
          })),
        ],
        hooks: {
          draw: [(plot) => this.mark(plot)],
          setCursor: [(plot) => this.follow(plot)],
        },
      },
      this.columns,
      this.area,
    );
    this.plot.over.addEventListener("mouseleave", () => this.move(this.last));
    // A touch only moves the crosshair; the date leads to the receipt then.
    this.plot.over.addEventListener("click", ({ pointerType }) => pointerType === "mouse" && this.leave());
    this.plot.root.ariaHidden = "true";
  }

  // Marks corrected publications by a dot, quarantined days by a triangle, redenominations by a dashed line.
  mark(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    const [first, last] = [plot.scales.x.min, plot.scales.x.max];
    const x = (time) => plot.valToPos(time, "x", true);
    ctx.save();
    ctx.fillStyle = ctx.strokeStyle = getComputedStyle(this.probes.warn).color;
    ctx.lineWidth = ratio;
    ctx.setLineDash([2 * ratio, 4 * ratio]);
    this.lines.forEach((line, number) => {
      for (const index of line.units) {
        const time = line.times[index];
        if (time <= first || time > last) continue;
        ctx.beginPath();
        ctx.moveTo(x(time), bbox.top);
        ctx.lineTo(x(time), bbox.top + bbox.height);
        ctx.stroke();
      }
      for (const index of line.revised) {
        const position = this.columns[0].indexOf(line.times[index]);
        if (position < 0) continue;
        const [value] = this.value(number, position);
        ctx.beginPath();
        ctx.arc(x(line.times[index]), plot.valToPos(value, "y", true), 3.5 * ratio, 0, 7);
        ctx.fill();
      }
      const bottom = bbox.top + bbox.height;
      for (const time of line.quarantined) {
        if (time < first || time > last) continue;
        ctx.beginPath();
        ctx.moveTo(x(time), bottom - 9 * ratio);
        ctx.lineTo(x(time) + 5 * ratio, bottom);
        ctx.lineTo(x(time) - 5 * ratio, bottom);
        ctx.fill();
      }
    });
    ctx.restore();
  }

  // The index of the publication of a series that is nearest to an index.
  nearest(series, index) {
    if (!series) return index;
    const values = this.columns[series];
    for (let step = 0; step < values.length; step++) {
      if (values[index - step] != null) return index - step;
      if (values[index + step] != null) return index + step;
    }
    return null;
  }

  follow(plot) {
    const { idx, left } = plot.cursor;
    if (this.moving || idx == null || left < 0) return;
    const stop = this.stops.reduce((best, position, index) => (Math.abs(position - idx) < Math.abs(this.stops[best] - idx) ? index : best), 0);
    this.read(stop);
  }

  // Moves the crosshair to a publication of the range, counted from the first one; the last one hides it.
  move(stop) {
    this.read(stop);
    if (!this.plot || !this.stops.length) return;
    const position = this.stops[this.stop];
    const hidden = this.stop === this.last && !this.area.matches(":focus");
    this.moving = true;
    const left = hidden ? -10 : this.plot.valToPos(this.columns[0][position], "x");
    this.plot.setCursor({ left, top: hidden ? -10 : 10 });
    this.moving = false;
  }

  // Shows a note beside the date, the rate and the change; an empty one hides it.
  say(note) {
    if (note === this.note) return;
    this.note = note;
    this.read(this.stop);
  }

  // Shows the date, the rate and the change of a publication, and sets the text for screen readers.
  read(stop) {
    this.stop = Math.min(Math.max(stop, 0), this.last);
    const position = this.stops[this.stop];
    this.readout.replaceChildren();
    if (position == null) return;
    const time = this.columns[0][position];
    const { formats, text } = this;
    const [, published] = this.value(0, position);
    this.href = published == null ? "" : this.receipt(new Date(published * 1000).toISOString().slice(0, 10));
    const parts = [make(this.href ? "a" : "span", "chart-date", formats.date(time))];
    if (this.href) parts[0].href = this.href;
    this.lines.forEach((line, number) => {
      const [value, day] = this.value(number, position);
      if (value == null) return;
      const index = this.indices[number].get(day);
      const percent = line.data.percents[index];
      const code = this.indexed ? `${line.data.currency} ` : "";
      parts.push(make("span", "chart-rate", code + formats.number(value, this.indexed ? 2 : line.data.decimals)));
      if (!this.indexed) parts.push(make("span", percent > 0 ? "up" : percent < 0 ? "down" : "flat", formats.percent(percent)));
      if (line.revised.has(index)) parts.push(make("span", "chart-note", text.revised));
      if (line.units.has(index)) parts.push(make("span", "chart-note", text.unit));
    });
    if (this.note) parts.push(make("span", "chart-note", this.note));
    this.readout.append(...parts.flatMap((part) => [part, " "]));
    this.area.ariaValueMin = "1";
    this.area.ariaValueMax = String(this.last + 1);
    this.area.ariaValueNow = String(this.stop + 1);
    this.area.ariaValueText = parts.map((part) => part.textContent).join(", ");
  }

  handleEvent(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter") this.leave();
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 20, PageDown: -20 };
    const stops = { Home: 0, End: this.last };
    const stop = stops[event.key] ?? this.stop + steps[event.key];
    if (Number.isNaN(stop)) return;
    event.preventDefault();
    this.move(stop);
  }

  // Opens the receipt of the publication at the crosshair.
  leave() {
    if (this.href) location.assign(this.href);
  }

  // Fills the table when it is open: all publications of the range, the latest first.
  fill() {
    if (!this.details?.open) return;
    const { formats, text } = this;
    const head = [text.date, ...this.lines.flatMap(({ data }) => [`${data.currency}/${data.base}`, text.change])];
    const rows = [...this.stops].reverse().map((position) => {
      const time = this.columns[0][position];
      const row = make("tr", "", "", make("th", "", formats.date(time)));
      row.firstElementChild.scope = "row";
      this.lines.forEach((line, number) => {
        const index = this.indices[number].get(time);
        const known = index != null;
        const note = known && line.revised.has(index) ? [" ", make("span", "chart-note", text.revised)] : [];
        row.append(
          make("td", "", known ? formats.number(line.data.rates[index], line.data.decimals) : "—", ...note),
          make("td", "", known ? formats.percent(line.data.percents[index]) : "—"),
        );
      });
      return row;
    });
    const cells = head.map((label) => {
      const cell = make("th", "", label);
      cell.scope = "col";
      return cell;
    });
    const table = make("table", "", "", make("thead", "", "", make("tr", "", "", ...cells)), make("tbody", "", "", ...rows));
    const scroll = make("div", "chart-scroll", "", table);
    scroll.tabIndex = 0;
    scroll.role = "region";
    scroll.ariaLabel = text.table;
    this.details.replaceChildren(this.details.firstElementChild, scroll);
  }

  destroy() {
    this.observer.disconnect();
    this.plot?.destroy();
    this.node.replaceChildren();
  }
}

// The fewest decimals that write a step of the vertical axis in full, at most 8: one for 2.5.
function decimals(step) {
  const exact = (digits) => Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) <= 1e-6 * step * 10 ** digits;
  let digits = 0;
  while (digits < 8 && !exact(digits)) digits++;
  return digits;
}

// The range of the vertical axis: the values with some space, also where all are equal.
function bounds(min, max, logarithmic) {
  if (min == null) return [0, 1];
  if (min === max) return [min * 0.99, max * 1.01];
  if (logarithmic) return [min / (max / min) ** 0.05, max * (max / min) ** 0.05];
  const space = (max - min) * 0.05;
  return [min - space, max + space];
}

// Round values of a logarithmic axis: powers of ten; if they are few, 2 and 5 times them too.
function powers(min, max) {
  const found = (factors) => {
    const values = [];
    for (let power = Math.floor(Math.log10(min)); 10 ** power <= max; power++) {
      values.push(...factors.map((factor) => factor * 10 ** power).filter((value) => value >= min && value <= max));
    }
    return values;
  };
  return [[1, 2, 5], [1, 3], [1]].map(found).find((values) => values.length <= 8) ?? found([1]);
}
