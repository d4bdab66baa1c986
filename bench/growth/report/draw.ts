import { lineChart, type Line } from '../svg/line-chart.js';
import type { Side } from '../curve.js';
import type { CurveFigures, MeasureFigures } from './figures.js';
import { readable, readableRatio } from './numbers.js';

/** The picture of one quantity along a curve. */
export function drawMeasure(curve: CurveFigures, measure: MeasureFigures): string {
  const { sides, title, unit, scale } = measure;
  const end = measure.ratio.at(-1)!;
  const ratio = `${readableRatio(end.median)} × hand-written at ${readable(end.x)}`;
  const line = (name: Side): Line => ({
    name,
    points: sides[name].map(({ x, median, lower, upper }) => ({ x, y: median, lower, upper })),
  });
  const better = measure.isMoreBetter === true ? 'more is better' : 'less is better';
  return lineChart({
    title: `${curve.title}, ${title}: ${ratio}`,
    subtitle: `${noteOf(curve)}; ${better}`,
    description: describe(curve, measure),
    x: { label: curve.x.label, scale: curve.x.scale },
    y: { label: `${title}, ${unit}`, scale },
    lines: [line('library'), line('hand-written')],
  });
}

function noteOf({ measuredAt, machine, load, rounds, isQuick }: CurveFigures): string {
  const parts = [
    `median and quartiles of ${rounds} rounds`,
    measuredAt.slice(0, 10),
    `Node ${machine.node.slice(1)}`,
    `load ${load.before} to ${load.after} on ${machine.cores} cores`,
  ];
  return [...(isQuick ? ['a check, no figure'] : []), ...parts].join(', ');
}

/** The figures in words, for who does not see them. */
function describe(curve: CurveFigures, { sides, title, unit }: MeasureFigures): string {
  const series = (name: Side): string =>
    sides[name].map(({ x, median }) => `${readable(x)}: ${readable(median)}`).join('; ');
  return [
    `${curve.description}.`,
    `${title} in ${unit} by ${curve.x.label}.`,
    `library: ${series('library')}.`,
    `hand-written: ${series('hand-written')}.`,
  ].join(' ');
}
