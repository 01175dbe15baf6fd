// Telemetry events carry a number: what is here already, and whether one was missed.

export class Order {
  /** @returns {{isSeen: boolean, isMissed: boolean}} */
  take({ epoch, seq }) {
    if (epoch === this.epoch && seq <= this.seq) return { isSeen: true, isMissed: false };
    const isMissed = this.epoch !== undefined && (epoch !== this.epoch || seq > this.seq + 1);
    Object.assign(this, { epoch, seq });
    return { isSeen: false, isMissed };
  }

  /** The stream begins anew, so do its numbers. */
  reset() {
    Object.assign(this, { epoch: undefined, seq: undefined });
  }
}
