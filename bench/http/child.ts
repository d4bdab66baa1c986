import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** A process of ours that answers each message with one. */
export interface Child {
  /** The first message that it sends. */
  readonly hello: unknown;
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
      const answer = nextMessage(child);
      child.send(message);
      return answer;
    },
    stop: async () => {
      // One that has ended by itself says so in the answer that it owes.
      if (!child.connected) {
        return;
      }
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
    },
  };
}

async function nextMessage(child: ChildProcess): Promise<unknown> {
  const listening = new AbortController();
  const { signal } = listening;
  try {
    return await Promise.race([
      once(child, 'message', { signal }).then(([message]) => message as unknown),
      once(child, 'exit', { signal }).then(([code]) => {
        throw new Error(`${child.spawnargs.slice(1).join(' ')} ended with ${String(code)}`);
      }),
    ]);
  } finally {
    listening.abort();
  }
}
