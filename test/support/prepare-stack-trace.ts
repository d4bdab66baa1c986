type Prepare = (error: Error, frames: NodeJS.CallSite[]) => unknown;

/** Runs code with an `Error.prepareStackTrace`, as an application may have one. */
export async function withPrepareStackTrace(
  prepareStackTrace: Prepare,
  run: () => unknown,
): Promise<void> {
  const before = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
  Object.assign(Error, { prepareStackTrace });
  try {
    await run();
  } finally {
    Reflect.deleteProperty(Error, 'prepareStackTrace');
    Object.defineProperties(Error, before === undefined ? {} : { prepareStackTrace: before });
  }
}
