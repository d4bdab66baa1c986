/** Is called with an error that no caller can catch. */
export type FaultReporter = (message: string, error: unknown) => void;
