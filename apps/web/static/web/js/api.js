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
export async function ask(url, { method = "GET", body, headers = {}, signal } = {}) {
  const all = { Accept: "application/json", ...headers };
  if (method !== "GET") {
    all["X-CSRFToken"] = document.querySelector("#control [name=csrfmiddlewaretoken]").value;
    all["Content-Type"] = "application/json";
  }
  const limit = AbortSignal.timeout(TIMEOUT_MS);
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

/** Whether we ourselves called it off. */
export const isAborted = (error) => error.name === "AbortError";
