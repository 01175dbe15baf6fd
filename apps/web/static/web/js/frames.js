// Does work once a frame, however many events ask for it.

const HIDDEN_MS = 250; // a hidden page has no frames, but people come back to it

/** Return a function that runs `work` soon, once for all calls until then. */
export function oncePerFrame(work) {
  let isAsked = false;
  const run = () => {
    isAsked = false;
    work();
  };
  return () => {
    if (isAsked) return;
    isAsked = true;
    if (document.hidden) setTimeout(run, HIDDEN_MS);
    else requestAnimationFrame(run);
  };
}
