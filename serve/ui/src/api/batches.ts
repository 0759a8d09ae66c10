/** Look-ups that are made at the same moment, sent as few requests. */

interface Asked<T> {
  resolve(value: T | undefined): void;
  reject(error: unknown): void;
}

export class Batches<T> {
  private waiting = new Map<string, Asked<T>[]>();

  /**
   * @param most How many ids one request may name.
   * @param load Returns what is known of some ids.
   */
  constructor(
    private readonly most: number,
    private readonly load: (ids: string[]) => Promise<Record<string, T>>,
  ) {}

  get(id: string): Promise<T | undefined> {
    if (this.waiting.size === 0) setTimeout(() => this.send(), 0);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, [...(this.waiting.get(id) ?? []), { resolve, reject }]);
    });
  }

  private send(): void {
    const all = [...this.waiting];
    this.waiting = new Map();
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
