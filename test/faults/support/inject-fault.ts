import type { Handler } from './scenario.js';
import { ordinary } from './scenario.js';
import { POOL_SIZE, type Answer, type AskOptions, type World } from './world.js';

/** A fault, and the requests that it happens to. */
export interface InjectedFault<W extends World> {
  readonly title: string;
  /**
   * Which of the handlers of `WorkController` the requests are for.
   * @defaultValue 'promise'
   */
  readonly kind?: AskOptions['kind'];
  /** Whether requests are sent one by one rather than all at once. */
  readonly oneByOne?: boolean;
  /** What each request does. */
  readonly handler: (world: W) => Handler;
  /** Called before the requests. */
  readonly arrange?: (world: W) => unknown;
  /** How a client asks, where it does not just wait for its answer. */
  readonly ask?: (world: W, key: string) => Promise<Answer>;
  /** Called while the requests are under way; may send others, and returns their answers. */
  readonly meanwhile?: (
    world: W,
    answers: Promise<readonly Answer[]>,
  ) => Promise<readonly Answer[] | void>;
  /** Ends the fault, before the application has to work again. */
  readonly heal?: (world: W) => unknown;
}

/** What the clients got while a fault happened. */
export interface InjectedAnswers {
  /** The answers to the requests that the fault happened to. */
  readonly answers: readonly Answer[];
  /** The answers to the requests beside them. */
  readonly others: readonly Answer[];
}

/** Has a fault happen to requests. It is for the caller to heal it afterwards. */
export async function injectFault<W extends World>(
  world: W,
  fault: InjectedFault<W>,
  { times, limitMs }: { readonly times: number } & Pick<AskOptions, 'limitMs'>,
): Promise<InjectedAnswers> {
  await fault.arrange?.(world);
  world.scenario.handler = fault.handler(world);
  const options: AskOptions = {
    ...(fault.kind !== undefined && { kind: fault.kind }),
    ...(limitMs !== undefined && { limitMs }),
  };
  const requests = askAll(world, fault, times, options);
  const others = (await fault.meanwhile?.(world, requests)) ?? [];
  return { answers: await requests, others };
}

async function askAll<W extends World>(
  world: W,
  fault: InjectedFault<W>,
  times: number,
  options: AskOptions,
): Promise<Answer[]> {
  const keys = Array.from({ length: times }, (_, index) => `key-${index}`);
  const ask = (key: string): Promise<Answer> => fault.ask?.(world, key) ?? world.ask(key, options);
  if (fault.oneByOne !== true) {
    return Promise.all(keys.map(ask));
  }
  const answers: Answer[] = [];
  for (const key of keys) {
    answers.push(await ask(key));
  }
  return answers;
}

/** Sends the next 5 requests, which no fault happens to. */
export function serveNext(
  world: Pick<World, 'scenario' | 'ask'>,
  options?: AskOptions,
): Promise<Answer[]> {
  world.scenario.handler = ordinary;
  world.scenario.beforeHandler = undefined;
  const keys = Array.from({ length: POOL_SIZE }, (_, index) => `next-${index}`);
  return Promise.all(keys.map((key) => world.ask(key, options)));
}
