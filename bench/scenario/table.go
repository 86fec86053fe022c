package scenario

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
		planning(),
		intakeHTTP(),
		intakeAMQP(),
		mixed(),
	}
}
