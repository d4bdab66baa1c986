import { dbContextChannels } from 'nestjs-db-context/telemetry';

type Listener = (event: unknown) => void;

interface Subscribed {
  readonly hasSubscribers: boolean;
  unsubscribe(listener: Listener): boolean;
}

/**
 * Ends what the channels of the library deliver to others: they are those of the process, and so hold the
 * watch of applications whose boot has failed in a spec before, which nobody can close.
 */
export function endLeftoverSubscriptions(): void {
  const groups = Object.values(dbContextChannels) as unknown as (Subscribed & object)[];
  const channels = groups.flatMap((each) =>
    'hasSubscribers' in each && 'unsubscribe' in each ? [each] : Object.values(each as object),
  ) as Subscribed[];
  for (const channel of channels) {
    // Node's own list, which a channel has while somebody listens.
    const listeners = Reflect.get(channel, '_subscribers') as Listener[] | undefined;
    for (const listener of listeners?.slice() ?? []) {
      channel.unsubscribe(listener);
    }
  }
}
