/** What `npm run bench:growth` makes of its measurements: pictures, ratios, a page. */
import { farEndsPage } from '../../bench/growth/report/far-ends.js';
import { drawMeasure } from '../../bench/growth/report/draw.js';
import { measureFigures, type CurveFigures } from '../../bench/growth/report/figures.js';
import type { PointSeries } from '../../bench/growth/run/measure-curve.js';
import { lineChart } from '../../bench/growth/svg/line-chart.js';
import { linearScale, logScale } from '../../bench/growth/svg/scale.js';
import { spreadOut } from '../../bench/growth/svg/spread-out.js';
import type { Measure } from '../../bench/growth/curve.js';

const TIME: Measure = {
  name: 'wallMs',
  title: 'time',
  unit: 'ms',
  scale: 'linear',
  file: 'statements',
};

/** Two rounds at each point, of which both have the same values but for `spread`. */
function seriesOf(
  points: readonly (readonly [x: number, library: number, handWritten: number])[],
  spread = 0,
): readonly PointSeries[] {
  const rounds = (value: number): readonly { readonly wallMs: number }[] => [
    { wallMs: value - spread },
    { wallMs: value + spread },
  ];
  return points.map(([x, library, handWritten]) => ({
    x,
    rounds: { library: rounds(library), 'hand-written': rounds(handWritten) },
  }));
}

function figuresOf(series: readonly PointSeries[]): CurveFigures {
  return {
    curve: 'statements',
    title: 'Statements in a request',
    description: 'one read & another < one "join"',
    x: { label: 'statements', scale: 'linear' },
    measuredAt: '2026-01-02T03:04:05.000Z',
    machine: { cpu: 'a CPU', cores: 2, memoryGiB: 8, platform: 'linux x64', node: 'v24.1.0' },
    load: { before: 0.5, after: 1.25 },
    rounds: 2,
    isQuick: false,
    measures: [measureFigures(TIME, series)],
    promises: { library: [10, 60], 'hand-written': [1, 41] },
    others: {},
  };
}

describe('an axis', () => {
  it.each([
    [97, [0, 20, 40, 60, 80, 100]],
    [100, [0, 20, 40, 60, 80, 100]],
    [0.3, [0, 0.1, 0.2, 0.3]],
    [0, [0, 0.2, 0.4, 0.6, 0.8, 1]],
  ])('begins at 0 and ends at a round number that is at least %d', (max, ticks) => {
    expect(linearScale(max).ticks).toEqual(ticks);
  });

  it('places values by their share of its length', () => {
    const { place } = linearScale(97);
    expect([0, 50, 100].map(place)).toEqual([0, 0.5, 1]);
  });

  it.each([
    [1, 10_000, [1, 10, 100, 1_000, 10_000]],
    [3, 40, [2, 5, 10, 20, 50]],
    [5, 5, [5, 10]],
  ])('has the powers of 10 between %d and %d, or more of them where there are few', (...axis) => {
    const [min, max, ticks] = axis;
    expect(logScale(min, max).ticks).toEqual(ticks);
  });

  it('places values by their factor', () => {
    const { place } = logScale(1, 10_000);
    expect([1, 100, 10_000].map((value) => Number(place(value).toFixed(6)))).toEqual([0, 0.5, 1]);
  });
});

it('labels that would overlap move apart, and others stay', () => {
  expect(spreadOut([100, 102], 20)).toEqual([91, 111]);
  expect(spreadOut([102, 100], 20)).toEqual([111, 91]);
  expect(spreadOut([10, 50], 20)).toEqual([10, 50]);
});

describe('a picture', () => {
  const svg = lineChart({
    title: 'a < b & "c"',
    subtitle: 'two rounds',
    description: 'in words',
    x: { label: 'statements', scale: 'linear' },
    y: { label: 'time, ms', scale: 'linear' },
    lines: [
      {
        name: 'library',
        points: [
          { x: 0, y: 0, lower: 0, upper: 0 },
          { x: 100, y: 100, lower: 50, upper: 100 },
        ],
      },
      {
        name: 'hand-written',
        points: [
          { x: 0, y: 0, lower: 0, upper: 0 },
          { x: 100, y: 50, lower: 50, upper: 50 },
        ],
      },
    ],
  });

  it('has a title and a description for who does not see it', () => {
    expect(svg).toContain('aria-labelledby="title description"');
    expect(svg).toContain('<title id="title">a &lt; b &amp; &quot;c&quot;</title>');
    expect(svg).toContain('<desc id="description">in words</desc>');
  });

  it('closes each element that it opens', () => {
    const open: string[] = [];
    for (const [, end, name, single] of svg.matchAll(/<(\/?)([a-z]+)(?:\s[^<>]*?)?(\/?)>/g)) {
      if (end === '/') {
        expect(open.pop()).toBe(name);
      } else if (single === '') {
        open.push(name!);
      }
    }
    expect(open).toEqual([]);
  });

  it('is light and dark', () => {
    expect(svg).toContain('@media (prefers-color-scheme: dark)');
  });

  it('draws both lines, and the quartiles as a band', () => {
    expect(svg).toContain('<polyline class="line library" points="76,364 610,84"/>');
    expect(svg).toContain('<polyline class="line hand-written" points="76,364 610,224"/>');
    expect(svg).toContain(
      '<polygon class="band library-fill" points="76,364 610,84 610,224 76,364"/>',
    );
  });

  it('names both lines at their ends, and both axes', () => {
    expect(
      [...svg.matchAll(/<text class="(?:name|label)[^>]*>([^<]*)</g)].map(([, each]) => each),
    ).toEqual(['statements', 'time, ms', 'library 100', 'hand-written 50']);
  });
});

describe('the figures of a curve', () => {
  it('compare the sides at each point, and what they add', () => {
    const { ratio, growth } = measureFigures(
      TIME,
      seriesOf([
        [1, 2, 1],
        [100, 32, 21],
      ]),
    );
    expect(ratio.map(({ x, median }) => [x, median])).toEqual([
      [1, 2],
      [100, 32 / 21],
    ]);
    expect(growth).toBe(1.5);
  });

  it('know no growth where hand-written does not grow', () => {
    expect(
      measureFigures(
        TIME,
        seriesOf([
          [1, 2, 10],
          [100, 3, 10.2],
        ]),
      ).growth,
    ).toBeNull();
  });

  it('have the ratio at the far end in the title of the picture, with the load of the machine', () => {
    const figures = figuresOf(
      seriesOf([
        [1, 2, 2],
        [100, 30, 20],
      ]),
    );
    const svg = drawMeasure(figures, figures.measures[0]!);
    expect(svg).toContain(
      '<title id="title">Statements in a request, time: 1.50 × hand-written at 100</title>',
    );
    expect(svg).toContain(
      'median and quartiles of 2 rounds, 2026-01-02, Node 24.1.0, load 0.5 to 1.25 on 2 cores; less is better',
    );
    expect(svg).toContain('library: 1: 2; 100: 30. hand-written: 1: 2; 100: 20.</desc>');
  });

  it('are a row of the page', () => {
    const page = farEndsPage([
      figuresOf(
        seriesOf(
          [
            [1, 2, 2],
            [100, 30, 20],
          ],
          1,
        ),
      ),
    ]);
    const cells = page
      .split('\n')
      .find((line) => line.startsWith('| Statements'))!
      .split('|')
      .map((cell) => cell.trim());
    expect(cells.slice(1, -1)).toEqual([
      'Statements in a request: time',
      '100 statements',
      '30 ms',
      '20 ms',
      '1.50 (1.49-1.51)',
      '1.56',
      '60 / 41; 1.25',
      '0.5 to 1.25 on 2 cores',
    ]);
    expect(page).toContain('![Statements in a request: time](statements.svg)');
  });
});
