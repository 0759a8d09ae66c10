/** Look-ups that are made at the same moment, or soon after others, sent as few requests. */

interface Asked<T> {
  resolve(value: T | undefined): void;
  reject(error: unknown): void;
}

export class Batches<T> {
  private waiting = new Map<string, Asked<T>[]>();
  private sentMs = Number.NEGATIVE_INFINITY;

  /**
   * @param most How many ids one request may name.
   * @param load Returns what is known of some ids.
   * @param pauseMs How long those that come after a request are collected.
   */
  constructor(
    private readonly most: number,
    private readonly load: (ids: string[]) => Promise<Record<string, T>>,
    private readonly pauseMs = 0,
  ) {}

  get(id: string): Promise<T | undefined> {
    if (this.waiting.size === 0) {
      const left = this.sentMs + this.pauseMs - performance.now();
      setTimeout(() => this.send(), Math.max(0, left));
    }
    return new Promise((resolve, reject) => {
      this.waiting.set(id, [...(this.waiting.get(id) ?? []), { resolve, reject }]);
    });
  }

  private send(): void {
    const all = [...this.waiting];
    this.waiting = new Map();
    this.sentMs = performance.now();
    for (let start = 0; start < all.length; start += this.most) {
      void this.sendSome(all.slice(start, start + this.most));
    }
  }

  private async sendSome(some: [string, Asked<T>[]][]): Promise<void> {
    try {
      const found = await this.load(some.map(([id]) => id));
      for (const [id, askers] of some) for (const asked of askers) asked.resolve(found[id]);
    } catch (error) {
      for (const [, askers] of some) for (const asked of askers) asked.reject(error);
    }
  }
}
