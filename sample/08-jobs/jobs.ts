/** What a job needs to know; the rest it reads. */
export interface OrderJob {
  readonly orderId: number;
  readonly item: string;
}
