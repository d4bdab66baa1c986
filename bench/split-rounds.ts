/** The rounds of one batch, among all of them. */
interface BatchRounds {
  /** The number of the first one. */
  readonly first: number;
  readonly rounds: number;
}

/**
 * Shares rounds out to batches, of which there are at most as many as rounds. The numbers go on from batch to batch: who
 * begins a round goes by its number, and each is to begin equally often.
 */
export function splitRounds({
  rounds,
  batches,
}: {
  readonly rounds: number;
  readonly batches: number;
}): readonly BatchRounds[] {
  const count = Math.min(batches, rounds);
  return Array.from({ length: count }, (_, batch) => {
    const first = Math.floor((rounds * batch) / count);
    const next = Math.floor((rounds * (batch + 1)) / count);
    return { first, rounds: next - first };
  });
}
