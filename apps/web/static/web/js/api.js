// Asks the API as the page's reader.

const TIMEOUT_MS = 20000;

/** An answer that is no success: `message` is the server's, in the reader's language. */
export class ApiError extends Error {
  constructor(status, body) {
    const fields = Object.values(body?.fields ?? {}).flat();
    super(fields.join(" ") || body?.message || "");
    this.status = status;
    this.code = body?.code ?? "";
  }
}

/** Return the JSON; throws ApiError, or what `fetch` throws when nobody answered. */
export async function ask(url, { method = "GET", body, headers = {}, signal, timeoutMs = TIMEOUT_MS } = {}) {
  const all = { Accept: "application/json", ...headers };
  if (method !== "GET") {
    all["X-CSRFToken"] = document.querySelector("#control [name=csrfmiddlewaretoken]").value;
    all["Content-Type"] = "application/json";
  }
  const limit = AbortSignal.timeout(timeoutMs);
  const response = await fetch(url, {
    method, headers: all, body: body && JSON.stringify(body), cache: "no-store",
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  if (response.ok) return response.json();
  let problem = null;
  try {
    problem = await response.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // a proxy's page: no words of ours
  }
  throw new ApiError(response.status, problem);
}

/** Return a page of ours; throws ApiError (also if it leads elsewhere), or what `fetch` throws. */
export async function fetchPage(url) {
  const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok || response.redirected) throw new ApiError(response.status, null);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

/** Whether we ourselves called it off. */
export const isAborted = (error) => error.name === "AbortError";
