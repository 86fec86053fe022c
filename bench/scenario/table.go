package scenario

import "time"

// Table returns every scenario, in the order in which they run.
func Table() []Scenario {
	return []Scenario{
		cold(),
		warm(),
		secure(),
		held(),
		ill(),
		many("w5.embedded", "embedded queue", false, 0.45, 0.55),
		many("w5.rabbitmq", "RabbitMQ", true, 0.35, 0.45),
		mails(),
		messages("s1", 0, Size{Targets: 100_000}, Size{Targets: 10_000}),
		messages("s1.20ms", 20*time.Millisecond, Size{Targets: 20_000}, Size{Targets: 2_500}),
		readers(),
		planning(),
		intakeHTTP(),
		intakeAMQP(),
		intakeAlerts(),
		intakeProbes(),
		mixed(),
	}
}
