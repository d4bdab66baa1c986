/** Why there is no figure. The run goes on, and the row says so. */
export interface Failure {
  readonly failure: string;
}

export function isFailure(figure: unknown): figure is Failure {
  return typeof figure === 'object' && figure !== null && 'failure' in figure;
}

/** Runs one measurement; what it throws is a {@link Failure}. */
export async function attempt<T>(measurement: () => Promise<T>): Promise<T | Failure> {
  try {
    return await measurement();
  } catch (error) {
    return { failure: error instanceof Error ? messageOf(error) : String(error) };
  }
}

function messageOf({ message, cause }: Error): string {
  return cause instanceof Error ? `${message}: ${messageOf(cause)}` : message;
}
