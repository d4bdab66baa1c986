import { Logger } from '@nestjs/common';

import { errorInfoOf } from '../telemetry/error-info.js';

/** Warns of the first failure of the inspector: a fault of its own must not fill the log of an application. */
export class RecordingFailures {
  #isReported = false;

  readonly report = (error: unknown): void => {
    if (this.#isReported) {
      return;
    }
    this.#isReported = true;
    const { name, message } = errorInfoOf(error);
    new Logger('DbContextInspectorModule').warn(
      `The inspector could not record a part of a request: ${name}: ${message}. Its page lacks that part, and ` +
        'the request went on as without the inspector. This is a fault of nestjs-db-context; later ones are not ' +
        `reported.${placeOf(error)}`,
    );
  };
}

function placeOf(error: unknown): string {
  const frames = /\n +at .*/s.exec((error as Partial<Error> | undefined)?.stack ?? '');
  return frames?.[0] ?? '';
}
