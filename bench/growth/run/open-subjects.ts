import { startLink } from '../../link/link.js';
import { SIDES, type Curve, type Side, type Subject } from '../curve.js';
import { openHttp } from './http.subject.js';
import { openProcess } from './process.subject.js';

/** Both sides of a curve, ready to be measured. */
export interface OpenedCurve {
  readonly subjects: Readonly<Record<Side, Subject>>;
  /** Makes the wire as long as a point of the curve wants it. */
  readonly beforePoint: (x: number) => Promise<void>;
  stop(): Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

export async function openCurve(curve: Curve, databaseUrl: string): Promise<OpenedCurve> {
  switch (curve.wire) {
    case 'server':
      return opened((side) => openProcess(curve, side, databaseUrl));
    case 'canned':
      return opened((side) => openProcess(curve, side, undefined));
    case 'http':
      return opened((side) => openHttp(side, databaseUrl));
    case 'link': {
      const link = await startLink(databaseUrl);
      const both = await opened((side) => openProcess(curve, side, link.url));
      return {
        ...both,
        beforePoint: (x) => link.setLength(x),
        stop: async () => {
          await both.stop();
          await link.stop();
        },
      };
    }
  }
}

async function opened(open: (side: Side) => Promise<Subject>): Promise<OpenedCurve> {
  const [library, handWritten] = await Promise.all(SIDES.map(open));
  return {
    subjects: { library: library!, 'hand-written': handWritten! },
    beforePoint: nothing,
    stop: async () => {
      await Promise.all([library!.stop(), handWritten!.stop()]);
    },
  };
}
