-- Asks Atatus Dash whether a request may pass (https://…/docs/guard.md, the contract auth-request).
--
-- The action takes the service's id. It asks the frontend that listens on abns@atatus-guard, which bounds the time.

-- What of the client's headers the guard reads. X-Forwarded-For gets the client's address added below.
local asked = {
    "accept", "access-control-request-method", "authorization", "content-type", "origin", "user-agent", "x-api-key",
    "x-forwarded-for", "x-request-id",
}
-- What of its yes the service gets, always all of them: each overwrites what a client sent.
local told = { "x-account", "x-api-key-id", "x-api-key-name", "x-api-key-permission", "x-request-id" }
-- How much of the key's limit is left. The configuration tells the client.
local left = { ["ratelimit"] = "txn.atatus_ratelimit", ["ratelimit-policy"] = "txn.atatus_ratelimit_policy" }
-- What of its no the client does not get: it belongs to the connection, or is for gateways that keep no body.
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

-- Sets txn.atatus_passed after a yes, and as the last thing: what does not come so far is refused by the configuration.
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
    -- Longer than the configuration lets an authorization request take, because this client would try again.
    local answer = core.httpclient():get({ url = url, dst = "abns@atatus-guard", headers = headers, timeout = 15000 })
    -- Only the guard has this header, a proxy between does not.
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
