"""How a training began is kept in its checkpoints: a resumed training goes on as it was."""
import numpy as np

from tests.qat.recipe import small


def test_a_restarted_training_is_not_calibrated_again(tmp_path):
    settings = small.config(tmp_path)
    with small.Training(settings, small.float_weights()) as training:
        for number in range(2):
            training.step(number)
        expected = training.positions(), training.noted()
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        losses = [training.step(number) for number in (2, 3)]
    with small.Training(settings) as training:
        training.saver.restore(training.session, checkpoint)
        assert [training.step(number) for number in (2, 3)] == losses
        assert (training.positions(), training.noted()) == expected


def test_a_recipe_set_later_overrides_how_the_training_began(tmp_path, capfd):
    weights = small.float_weights()
    with small.Training(small.config(tmp_path), weights) as training:
        training.step(0)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
    for recipe, mode, moves in (('scratch', 3, True), ('finetune', 1, False), ('auto', 1, False)):
        capfd.readouterr()
        with small.Training(small.config(tmp_path, recipe=recipe, position_decay=0.5)) as training:
            training.saver.restore(training.session, checkpoint)
            before = training.positions()
            for number in range(1, 5):
                training.step(number, scale=30.)
            assert training.noted() == (mode, 0)
            assert (training.positions() != before) == moves
            assert np.array_equal(training.variables()['norm/moving_mean'], weights['norm/moving_mean']) != moves
        said = capfd.readouterr().err
        assert said.count('This training') == said.count(
            "goes on by recipe 'scratch'. Batch norms use the statistics of the batch. Positions move until 67% of the "
            "training, if its length is known.") == int(moves)


def test_a_resumed_training_from_scratch_is_still_one(tmp_path):
    settings = small.config(tmp_path)
    with small.Training(settings) as training:
        training.step(0)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        losses = [training.step(number) for number in (1, 2, 3)]
    with small.Training(settings) as training:
        training.saver.restore(training.session, checkpoint)
        assert [training.step(number) for number in (1, 2, 3)] == losses
        assert training.noted()[0] == 3


def test_a_resumed_training_with_the_manual_recipe_is_not_calibrated(tmp_path):
    with small.Training(small.config(tmp_path, recipe='manual', method=0), small.float_weights()) as training:
        training.step(0)
        checkpoint = training.saver.save(training.session, str(tmp_path / 'model.ckpt'))
        losses = [training.step(number) for number in (1, 2, 3)]
    with small.Training(small.config(tmp_path, method=0)) as training:
        training.saver.restore(training.session, checkpoint)
        assert [training.step(number) for number in (1, 2, 3)] == losses
        assert training.noted()[0] == 5
