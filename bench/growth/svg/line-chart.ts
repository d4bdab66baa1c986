import { readable } from '../report/numbers.js';
import { spreadOut } from './spread-out.js';
import { linearScale, logScale, type Scale } from './scale.js';
import { STYLE } from './theme.js';
import { element, escaped, type Attributes } from './xml.js';

interface ChartPoint {
  readonly x: number;
  readonly y: number;
  /** The quartiles, drawn as a band. */
  readonly lower: number;
  readonly upper: number;
}

export interface Line {
  readonly name: 'library' | 'hand-written';
  readonly points: readonly ChartPoint[];
}

interface Axis {
  readonly label: string;
  readonly scale: 'linear' | 'log';
}

/** What is drawn. */
export interface Chart {
  readonly title: string;
  readonly subtitle: string;
  /** All of it in words. */
  readonly description: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
}

const WIDTH = 800;
const HEIGHT = 420;
const LEFT = 76;
const RIGHT = 190;
const TOP = 84;
const BOTTOM = 56;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT = HEIGHT - TOP - BOTTOM;
const MARKER = 3.5;
const LABEL_GAP = 17;
/** Width of a digit of a tick, and what lies between two of them at least. */
const DIGIT_WIDTH = 7;
const TICK_GAP = 8;

/** Draws lines with their spread, as a document of SVG that stands by itself. */
export function lineChart(chart: Chart): string {
  const points = chart.lines.flatMap((line) => line.points);
  const xs = points.map(({ x }) => x);
  const ys = points.flatMap(({ y, lower, upper }) => [y, lower, upper]);
  const plot = new Plot(scaleOf(chart.x, xs), scaleOf(chart.y, ys));
  const attributes: Attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    width: WIDTH,
    height: HEIGHT,
    role: 'img',
    'aria-labelledby': 'title description',
  };
  const head = [
    element('title', { id: 'title' }, escaped(chart.title)),
    element('desc', { id: 'description' }, escaped(chart.description)),
    element('style', {}, STYLE),
    element('rect', { class: 'paper', width: WIDTH, height: HEIGHT }),
    text('title', 16, 28, chart.title),
    text('note', 16, 50, chart.subtitle),
  ];
  const body = [
    ...plot.horizontalAxis(chart.x.label),
    ...plot.verticalAxis(chart.y.label),
    ...chart.lines.map((line) => plot.band(line)),
    ...chart.lines.map((line) => plot.line(line)),
    ...plot.names(chart.lines),
  ];
  return `${element('svg', attributes, `\n${[...head, ...body].join('\n')}\n`)}\n`;
}

function scaleOf({ scale }: Axis, values: readonly number[]): Scale {
  const max = Math.max(...values);
  const positive = values.filter((value) => value > 0);
  return scale === 'log' && positive.length > 0
    ? logScale(Math.min(...positive), max)
    : linearScale(max);
}

function text(className: string, x: number, y: number, content: string, anchor = 'start'): string {
  const attributes = { class: className, x: round(x), y: round(y), 'text-anchor': anchor };
  return element('text', attributes, escaped(content));
}

const round = (value: number): number => Number(value.toFixed(1));

/** The area between the axes. */
class Plot {
  constructor(
    private readonly horizontal: Scale,
    private readonly vertical: Scale,
  ) {}

  horizontalAxis(label: string): readonly string[] {
    const y = TOP + PLOT_HEIGHT;
    let writtenTo = Number.NEGATIVE_INFINITY;
    const ticks = this.horizontal.ticks.flatMap((tick) => {
      const x = this.#x(tick);
      const half = (readable(tick).length * DIGIT_WIDTH) / 2;
      if (x - half < writtenTo + TICK_GAP) {
        return [];
      }
      writtenTo = x + half;
      return [rule('grid', x, TOP, x, y), text('tick', x, y + 18, readable(tick), 'middle')];
    });
    return [
      ...ticks,
      rule('axis', LEFT, y, LEFT + PLOT_WIDTH, y),
      text('label', LEFT + PLOT_WIDTH / 2, y + 42, label, 'middle'),
    ];
  }

  verticalAxis(label: string): readonly string[] {
    const ticks = this.vertical.ticks.flatMap((tick) => {
      const y = this.#y(tick);
      return [
        rule('grid', LEFT, y, LEFT + PLOT_WIDTH, y),
        text('tick', LEFT - 8, y + 4, readable(tick), 'end'),
      ];
    });
    return [...ticks, text('label', 16, TOP - 12, label)];
  }

  band({ name, points }: Line): string {
    const upper = points.map(({ x, upper: y }) => this.#at(x, y));
    const lower = points.toReversed().map(({ x, lower: y }) => this.#at(x, y));
    const outline = [...upper, ...lower].join(' ');
    return element('polygon', { class: `band ${name}-fill`, points: outline });
  }

  line({ name, points }: Line): string {
    const line = element('polyline', {
      class: `line ${name}`,
      points: points.map(({ x, y }) => this.#at(x, y)).join(' '),
    });
    const markers = points.map(({ x, y }) => {
      const [cx, cy] = [round(this.#x(x)), round(this.#y(y))];
      return name === 'library'
        ? element('circle', { class: `${name}-fill`, cx, cy, r: MARKER })
        : element('rect', {
            class: `${name}-fill`,
            x: round(cx - MARKER),
            y: round(cy - MARKER),
            width: MARKER * 2,
            height: MARKER * 2,
          });
    });
    return [line, ...markers].join('\n');
  }

  /** The name of each line beside its end, with the value there. */
  names(lines: readonly Line[]): readonly string[] {
    const ends = lines.map(({ points }) => this.#y(points.at(-1)!.y));
    const x = this.#x(lines[0]!.points.at(-1)!.x) + 12;
    return spreadOut(ends, LABEL_GAP).map((y, index) => {
      const { name, points } = lines[index]!;
      return text(`name ${name}-fill`, x, y + 4, `${name} ${readable(points.at(-1)!.y)}`);
    });
  }

  #x(value: number): number {
    return LEFT + this.horizontal.place(value) * PLOT_WIDTH;
  }

  #y(value: number): number {
    return TOP + (1 - this.vertical.place(value)) * PLOT_HEIGHT;
  }

  #at(x: number, y: number): string {
    return `${round(this.#x(x))},${round(this.#y(y))}`;
  }
}

function rule(className: string, x1: number, y1: number, x2: number, y2: number): string {
  const [left, top, right, bottom] = [x1, y1, x2, y2].map(round);
  return element('line', { class: className, x1: left!, y1: top!, x2: right!, y2: bottom! });
}
