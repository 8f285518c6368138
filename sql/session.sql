-- What a session of this package's own is set to, when it begins.

-- settings --
-- Time limits that suit web requests would end a load half way.
SELECT set_config('statement_timeout', '0', false),
       set_config('idle_in_transaction_session_timeout', '0', false)
