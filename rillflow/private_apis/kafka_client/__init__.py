"""Private APIs of aiokafka: limits of what it unpacks and reads, and of what brokers ask for."""
