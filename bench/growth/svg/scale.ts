/** An axis: where a value lies on it, from 0 to 1, and the values that are written beside it. */
export interface Scale {
  readonly place: (value: number) => number;
  readonly ticks: readonly number[];
}

const STEPS = [1, 2, 5, 10];
/** Decades that are more than these have a tick each; fewer have three. */
const FEW_DECADES = 2;

/** From 0 to a round number that is at least `max`, in about `intervals` round steps. */
export function linearScale(max: number, intervals = 5): Scale {
  const top = max > 0 ? max : 1;
  const rough = top / intervals;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = magnitude * STEPS.find((each) => each * magnitude >= rough)!;
  // Rounded, or 0.1 * 3 would be no round number, and 0.3 / 0.1 not 3.
  const count = Math.ceil(Number((top / step).toPrecision(12)));
  const ticks = Array.from({ length: count + 1 }, (_, index) =>
    Number((index * step).toPrecision(12)),
  );
  return { ticks, place: (value) => value / ticks.at(-1)! };
}

/**
 * From a round number that is at most `min` to one that is at least `max`, in equal factors.
 *
 * @param min above 0
 */
export function logScale(min: number, max: number): Scale {
  const [first, last] = [Math.floor(Math.log10(min)), Math.ceil(Math.log10(max))];
  const factors = last - first <= FEW_DECADES ? STEPS.slice(0, -1) : [1];
  const candidates = Array.from({ length: last - first + 1 }, (_, index) => first + index).flatMap(
    (exponent) => factors.map((factor) => Number((factor * 10 ** exponent).toPrecision(12))),
  );
  const from = candidates.findLast((each) => each <= min)!;
  const to = candidates.find((each) => each >= max && each > from)!;
  const span = Math.log10(to / from);
  return {
    ticks: candidates.filter((each) => each >= from && each <= to),
    place: (value) => Math.log10(value / from) / span,
  };
}
