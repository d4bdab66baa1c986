import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core';

import { ContextRegistry } from '../context/context-registry.js';
import { EventStreams } from './event-streams.js';
import { recordRequests, type ListenedServer } from './http-requests.js';
import { INSPECTOR_PATH, INSPECTOR_SETTINGS, type InspectorSettings } from './inspector-options.js';
import { OwnPaths } from './own-paths.js';
import { RecordLookup } from './record-lookup.js';
import { RequestLog } from './request-log.js';
import { RequestRecorder } from './request-recorder.js';
import { detailOf } from './view/detail.js';
import type { RequestDetail } from './view/view-types.js';

/** The recording of one application, from its start to its end. */
@Injectable()
export class Inspector implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown {
  readonly lookup: RecordLookup;
  readonly streams: EventStreams;
  readonly #log: RequestLog;
  readonly #recorder: RequestRecorder;
  readonly #host: HttpAdapterHost;
  readonly #own: OwnPaths;
  readonly #showValues: boolean;
  #stopRecording: (() => void) | undefined;
  #isClosing = false;

  constructor(
    @Inject(INSPECTOR_SETTINGS) settings: InspectorSettings,
    @Inject(INSPECTOR_PATH) path: string,
    registry: ContextRegistry,
    config: ApplicationConfig,
    host: HttpAdapterHost,
  ) {
    this.#showValues = settings.showValues;
    this.#log = new RequestLog(settings);
    this.lookup = new RecordLookup(this.#log);
    this.streams = new EventStreams(this.#log, settings.showValues);
    this.#recorder = new RequestRecorder(this.#log, this.lookup, settings, registry.application);
    this.#own = new OwnPaths(path, config);
    this.#host = host;
  }

  /** Whether no page may have a stream now: too many have one, or the application is closing. */
  get isBusy(): boolean {
    return this.#isClosing || this.streams.isFull;
  }

  /** One request, if it is still kept. */
  detail(id: number): RequestDetail | undefined {
    const record = this.#log.get(id);
    return record && detailOf(record, this.#showValues);
  }

  onModuleInit(): void {
    this.#recorder.start();
    // An application without a server, of jobs alone for one, has none to be asked for the page either.
    const server = this.#host.httpAdapter?.getHttpServer() as ListenedServer | undefined;
    if (server !== undefined) {
      this.#stopRecording = recordRequests(server, this.#log, this.lookup, this.#own);
    }
  }

  /** The server closes after this hook, when all of its answers have ended. */
  beforeApplicationShutdown(): void {
    this.#isClosing = true;
    this.streams.end();
  }

  onApplicationShutdown(): void {
    this.#recorder.stop();
    this.#stopRecording?.();
  }
}
