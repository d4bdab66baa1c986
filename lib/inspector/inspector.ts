import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { ApplicationConfig, HttpAdapterHost } from '@nestjs/core';

import { ContextRegistry } from '../context/context-registry.js';
import { guarded } from '../telemetry/subscriptions.js';
import { announceAt, type ListeningServer } from './boot-line.js';
import { EventStreams, MOST_STREAMS } from './event-streams.js';
import { recordRequests, type ListenedServer, type RequestRecords } from './http-requests.js';
import {
  INSPECTOR_PLACE,
  INSPECTOR_SETTINGS,
  type InspectorPlace,
  type InspectorSettings,
} from './inspector-options.js';
import { OwnPaths } from './own-paths.js';
import { RecordingFailures } from './recording-failures.js';
import { RecordLookup } from './record-lookup.js';
import { RequestLog } from './request-log.js';
import type { RequestRecord } from './request-record.js';
import { RequestRecorder } from './request-recorder.js';
import { UnusedSockets, type ConnectedServer } from './unused-sockets.js';
import { detailOf } from './view/detail.js';
import type { RequestDetail, StreamsState } from './view/view-types.js';

type Server = ListenedServer & ConnectedServer & ListeningServer;

/** The recording of one application, from its start to its end. */
@Injectable()
export class Inspector implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown {
  readonly lookup: RecordLookup;
  readonly streams: EventStreams;
  /** The handler of a request has thrown. */
  readonly handlerFailed: (record: RequestRecord, error: unknown) => void;
  readonly #records: RequestRecords;
  readonly #recorder: RequestRecorder;
  readonly #host: HttpAdapterHost;
  readonly #own: OwnPaths;
  readonly #showValues: boolean;
  readonly #hasGuard: boolean;
  #unused: UnusedSockets | undefined;
  #stopRecording: (() => void) | undefined;
  #isClosing = false;

  constructor(
    @Inject(INSPECTOR_SETTINGS) settings: InspectorSettings,
    @Inject(INSPECTOR_PLACE) { path, hasGuard }: InspectorPlace,
    registry: ContextRegistry,
    config: ApplicationConfig,
    host: HttpAdapterHost,
  ) {
    this.#showValues = settings.showValues;
    const log = new RequestLog(settings);
    this.lookup = new RecordLookup(log);
    this.streams = new EventStreams(log, settings.showValues);
    this.#records = { log, lookup: this.lookup, failed: new RecordingFailures().report };
    const { application } = registry;
    this.#recorder = new RequestRecorder({ ...this.#records, application }, settings);
    this.handlerFailed = guarded(
      (record, error) => this.#recorder.handlerFailed(record, error),
      this.#records.failed,
    );
    this.#own = new OwnPaths(path, config);
    this.#host = host;
    this.#hasGuard = hasGuard;
  }

  /** How many pages have a stream, and whether one more may have one. */
  get state(): StreamsState {
    const { size } = this.streams;
    return { open: size, most: MOST_STREAMS, isClosing: this.#isClosing };
  }

  /** One request, if it is still kept. */
  detail(id: number): RequestDetail | undefined {
    const { log } = this.#records;
    const record = log.get(id);
    return record && detailOf(record, this.#showValues);
  }

  onModuleInit(): void {
    this.#recorder.start();
    // An application without a server, of jobs alone for one, has none to be asked for the page either.
    const adapter = this.#host.httpAdapter;
    const server = adapter?.getHttpServer() as Server | undefined;
    if (server !== undefined) {
      const source = { server, instance: adapter.getInstance<unknown>() };
      this.#stopRecording = recordRequests(source, this.#records, this.#own);
      this.#unused = new UnusedSockets(server);
      announceAt(server, () => this.#own.path, { hasGuard: this.#hasGuard });
    }
  }

  /** The server closes after this hook, when all of its answers have ended. */
  beforeApplicationShutdown(): void {
    this.#isClosing = true;
    this.#unused?.closeThoseOf(this.streams.addresses);
    this.streams.end();
  }

  onApplicationShutdown(): void {
    this.#recorder.stop();
    this.#unused?.forget();
    this.#stopRecording?.();
  }
}
