-- Asks Atatus Dash whether a request may pass (https://…/docs/guard.md, the contract auth-request).
--
-- The action takes the service's id. It asks through the frontend on abns@atatus-guard, which limits the time.

-- The client's headers that the guard reads. The client's address is appended to X-Forwarded-For below.
local asked = {
    "accept", "access-control-request-method", "authorization", "content-type", "origin", "user-agent", "x-api-key",
    "x-forwarded-for", "x-request-id",
}
-- Headers of a 200 that the service gets. They are always all set, and replace those of a client.
local told = { "x-account", "x-api-key-id", "x-api-key-name", "x-api-key-permission", "x-request-id" }
-- The key's rate limit. The configuration adds these headers to the answer.
local left = { ["ratelimit"] = "txn.atatus_ratelimit", ["ratelimit-policy"] = "txn.atatus_ratelimit_policy" }
-- Headers of a refusal that the client doesn't get: those of the connection, and one for gateways that drop the body.
local kept = {
    ["connection"] = true, ["content-length"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true,
    ["x-guard-message"] = true,
}
local refusals = { [401] = true, [403] = true, [429] = true, [503] = true }

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status, body = answer.body })
    for name, values in pairs(answer.headers) do
        if not kept[name] then
            for _, value in pairs(values) do
                reply:add_header(name, value)
            end
        end
    end
    txn:done(reply)
end

-- Sets txn.atatus_passed after a 200, as its last step: the configuration refuses requests without it.
core.register_action("atatus_guard", { "http-req" }, function(txn, service)
    local came = txn.http:req_get_headers()
    local headers = {}
    for _, name in ipairs(asked) do
        if came[name] then
            headers[name] = {}
            -- HAProxy counts values from 0.
            for number = 0, #came[name] do
                table.insert(headers[name], came[name][number])
            end
        end
    end
    headers["x-forwarded-for"] = headers["x-forwarded-for"] or {}
    table.insert(headers["x-forwarded-for"], txn.sf:src())
    headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
    headers["x-original-method"] = { txn.sf:method() }
    headers["x-original-uri"] = { txn.sf:pathq() }

    local url = "http://guard/v2/verify/" .. service .. "/auth-request"
    -- Longer than the configuration's time limit, because this client would try again.
    local answer = core.httpclient():get({ url = url, dst = "abns@atatus-guard", headers = headers, timeout = 15000 })
    -- Only the guard sends this header, not a proxy in front of it.
    if refusals[answer.status] and answer.headers["x-guard-message"] then
        refuse(txn, answer)
    elseif answer.status == 200 then
        for _, name in ipairs(told) do
            txn.http:req_set_header(name, answer.headers[name][0])
        end
        for name, variable in pairs(left) do
            if answer.headers[name] then
                txn:set_var(variable, answer.headers[name][0])
            end
        end
        txn:set_var("txn.atatus_passed", true)
    end
end, 1)
