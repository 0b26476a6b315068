// SPDX-License-Identifier: Apache-2.0
// Calls of the public REST interface. Every failure is an ApiError with the server's stable code.

import { S } from "../strings";
import type { Json } from "./types";

/** The path below which the portal is served, ending in "/". */
export const BASE = new URL(document.baseURI).pathname.replace("__towline_base__/", "");
const ROOT = `${BASE}api/towline/v1`;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly where: string = "",
    readonly hint: string = "",
    readonly retryAfter: number = 0,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | boolean | string[] | null | undefined>;

/** A path below the API root with its query; empty values are left out. */
export function path(parts: string[], query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (Array.isArray(value)) value.forEach((each) => search.append(key, each));
    else if (value !== null && value !== undefined && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return `/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

interface Options {
  method?: string;
  body?: unknown;
  signal?: AbortSignal | undefined;
  headers?: Record<string, string>;
}

/** One call; resolves to the JSON answer (undefined for 204). */
export async function call<T>(target: string, { method = "GET", body, signal, headers = {} }: Options = {}): Promise<T> {
  let response: Response;
  try {
    const init: RequestInit = {
      method,
      credentials: "same-origin",
      headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
    };
    if (body !== undefined) init.body = JSON.stringify(body);
    if (signal) init.signal = signal;
    response = await fetch(ROOT + target, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "network", method === "GET" ? S.errors.network : S.errors.networkSent);
  }
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  const answer = parse(text);
  if (response.ok) return answer as T;
  throw failure(response, answer);
}

function parse(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

function failure(response: Response, answer: Json | undefined): ApiError {
  const error = answer && typeof answer === "object" && !Array.isArray(answer) ? answer["error"] : undefined;
  const known = error && typeof error === "object" && !Array.isArray(error) ? error : {};
  const text = (key: string) => (typeof known[key] === "string" ? (known[key] as string) : "");
  return new ApiError(
    response.status,
    text("code") || `http.${response.status}`,
    text("message") || `${response.status} ${response.statusText}`,
    text("where"),
    text("hint"),
    Number(response.headers.get("retry-after")) || 0,
  );
}

export const post = <T>(target: string, body?: unknown, options: Options = {}) =>
  call<T>(target, { ...options, method: "POST", body: body ?? {} });
export const patch = <T>(target: string, body: unknown) => call<T>(target, { method: "PATCH", body });
export const remove = (target: string) => call<void>(target, { method: "DELETE" });
