import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';

/** A process of ours that answers each message with one. */
export interface Child {
  /** The first message that it sends. */
  readonly hello: unknown;
  /** @throws Error when the process has ended, or ends before it answers */
  ask(message: string | object): Promise<unknown>;
  stop(): Promise<void>;
}

/**
 * Starts a process, and waits for its first message. It runs in production mode, since in development the
 * library watches its use.
 *
 * @throws Error the process ended before its first message
 */
export async function startChild(
  file: URL,
  args: readonly string[],
  execArgv: readonly string[] = [],
): Promise<Child> {
  const child = fork(file, [...args], {
    execArgv: [...execArgv],
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const hello = await nextMessage(child);
  return {
    hello,
    ask: async (message) => {
      assertRuns(child);
      const answer = nextMessage(child);
      child.send(message);
      return answer;
    },
    stop: async () => {
      if (hasEnded(child) || !child.connected) {
        return;
      }
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
    },
  };
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function assertRuns(child: ChildProcess): void {
  if (hasEnded(child)) {
    throw endOf(child);
  }
}

function endOf({ spawnargs, exitCode, signalCode }: ChildProcess): Error {
  const name = spawnargs
    .slice(1)
    .map((each) => basename(each))
    .join(' ');
  return new Error(`the process "${name}" ended with ${String(exitCode ?? signalCode)}`);
}

async function nextMessage(child: ChildProcess): Promise<unknown> {
  const listening = new AbortController();
  const { signal } = listening;
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([message]) => message as unknown),
      once(child, 'exit', { signal }).then(() => {
        throw endOf(child);
      }),
    ]);
  } finally {
    listening.abort();
  }
}
