/**
 * Waits for `work` until a signal gives it up.
 *
 * @param onLate is called with what `work` results in after that
 * @throws what `work` throws, or the reason of the signal
 */
export function unlessGivenUp<T>(
  signal: AbortSignal | undefined,
  work: Promise<T>,
  onLate: (result: T) => void = () => undefined,
): Promise<T> {
  if (signal === undefined) {
    return work;
  }
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      reject(signal.reason as Error);
      work.then(onLate, () => undefined);
    };
    if (signal.aborted) {
      giveUp();
      return;
    }
    signal.addEventListener('abort', giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
