/** Says how far a run is, to the standard error: the standard output holds the tables and nothing else. */
export function say(measured: string): void {
  console.error(`measured: ${measured}`);
}
