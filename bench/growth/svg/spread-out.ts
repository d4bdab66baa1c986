/** Moves places apart until each two are at least `gap` apart, their order and their middle kept. */
export function spreadOut(places: readonly number[], gap: number): readonly number[] {
  const order = places
    .map((place, index) => ({ place, index }))
    .toSorted((a, b) => a.place - b.place);
  const moved = [...places];
  let last = Number.NEGATIVE_INFINITY;
  for (const { place, index } of order) {
    last = Math.max(place, last + gap);
    moved[index] = last;
  }
  const shift = (total(places) - total(moved)) / places.length;
  return moved.map((place) => place + shift);
}

function total(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0);
}
