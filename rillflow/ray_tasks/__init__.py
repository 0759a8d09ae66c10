"""Tasks that call Ray: functions in Ray workers, by ``ray://module:function``."""
